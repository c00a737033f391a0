"""The comparison of presets: equal patches are equal whatever a preset has, and figures are those of all seeds."""

from benchmarks.compare import over_seeds, plan_of_patches, share_of_minutes, share_of_patches
from benchmarks.zoo import plan


def test_presets_see_as_many_patches_with_a_flow_and_without() -> None:
    assert plan_of_patches("lsgan-small", 100_000, 1000) == {"epochs": 100}
    assert plan_of_patches("nlbs-small", 100_000, 1000) == {"epochs": 50, "latents": 50_000}
    assert plan_of_patches("lsgan-small", 10, 1000) == {"epochs": 1}


def test_a_plan_says_how_much_of_its_budget_whole_epochs_take() -> None:
    rates = {"model": 100.0, "flow": 50.0}
    todo = plan(rates, 1, 1000)
    assert todo == {"epochs": 3, "latents": 1500}
    assert share_of_minutes(todo, rates, 1, 1000) == 1.0
    assert share_of_minutes(plan({"model": 100.0}, 1, 9000), {"model": 100.0}, 1, 9000) == 1.5
    assert share_of_patches({"epochs": 3, "latents": 1000}, 5000, 1000) == 0.8
    assert share_of_patches({"epochs": 1}, 10, 1000) == 100


def test_a_figure_has_its_mean_and_its_ends_over_the_seeds_that_have_it() -> None:
    runs = [
        {"frechet": {"value": 30.0, "low": 1.0}, "recall": None},
        {"frechet": {"value": 50.0, "low": 2.0}, "recall": {"value": 0.5}},
        {"failed": "exit code 2"},
    ]
    assert over_seeds(runs) == {
        "frechet": {"mean": 40.0, "least": 30.0, "largest": 50.0, "seeds": 2},
        "recall": {"mean": 0.5, "least": 0.5, "largest": 0.5, "seeds": 1},
        "failed": ["exit code 2"],
    }
