"""Where each fault that the product promises to survive is tested: row by row, and every pointer is looked up."""

import importlib
import re
from pathlib import Path

import pytest

from tests.conftest import some

ROOT = Path(__file__).parents[2]
_HERE, _PREPROCESS, _SHARDS = "tests.reliability.", "tests.preprocess.", "tests.shards."
_FORMATS, _STORE, _BUILD = (
    f"{_PREPROCESS}formats.test_",
    f"{_PREPROCESS}images.test_store::",
    f"{_PREPROCESS}test_build::",
)
_POISON = f"{_HERE}test_poison::"
_MIXED = f"{_POISON}test_every_kind_of_poison_is_named_and_the_good_images_and_shards_keep_their_bytes"
_PRIVACY, _CRASHES, _DAMAGE = f"{_HERE}test_privacy::", f"{_HERE}test_crashes::", f"{_HERE}test_damage::"
_NAMES, _TYPES, _TEXT = (f"{_HERE}test_received_{kind}::" for kind in ("names", "types", "text"))
_GUARD = (
    f"{_PREPROCESS}root.test_ingest::test_crashes_hangs_and_bombs_are_named_and_every_other_file_is_decoded"
)

#: Fault -> (what it is, its tests).
ROWS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "a file truncated in its pixels",
        (_MIXED, f"{_FORMATS}image_file_dicom::test_a_file_cut_in_its_pixels_is_called_truncated"),
    ),
    2: (
        "no DICOM, empty, folder, FIFO, device",
        (_MIXED, f"{_FORMATS}source_file::test_only_regular_files_are_opened"),
    ),
    3: (
        "sequences nested thousands deep",
        (_MIXED, f"{_FORMATS}elements::test_nested_sequences_are_read_or_refused_and_the_process_lives"),
    ),
    4: (
        "impossible sizes and bits",
        (_MIXED, f"{_FORMATS}header::test_an_impossible_header_is_refused_in_words"),
    ),
    5: (
        "decompression bombs",
        (
            _MIXED,
            f"{_FORMATS}elements::test_a_deflated_bomb_is_refused_before_it_unpacks",
            f"{_FORMATS}header::test_no_memory_is_taken_for_an_image_larger_than_allowed",
            _GUARD,
        ),
    ),
    6: ("a codec that crashes", (_GUARD,)),
    7: ("a codec that hangs", (_GUARD,)),
    8: (
        "rot and changes that still decode",
        (
            f"{_FORMATS}image_file_dicom::test_only_image_errors_come_out_of_damaged_files",
            f"{_POISON}test_a_file_that_is_written_to_while_it_is_read_is_named_and_not_stored",
            f"{_CRASHES}test_what_a_killed_build_noted_of_its_files_tells_a_replaced_one",
        ),
    ),
    9: ("table and header disagree", (f"{_PREPROCESS}images.test_header_conditions",)),
    10: (
        "paths that lead out of the folder",
        (f"{_POISON}test_a_path_that_leads_out_of_the_folder_is_refused_before_anything_is_opened", _MIXED),
    ),
    11: (
        "tables of every bad kind",
        (
            "tests.manifests.tables.test_table::test_however_a_table_was_saved_it_reads_the_same",
            "tests.manifests.tables.test_table::test_a_row_that_cannot_be_used_says_why_and_the_others_are_read",
            "tests.manifests.tables.test_table::test_a_quote_that_is_never_closed_does_not_swallow_the_rows_after_it",
        ),
    ),
    12: (
        "hostile cells",
        (
            "tests.manifests.tables.test_table::test_a_cell_of_a_megabyte_is_unknown_and_its_text_is_cut",
            f"{_HERE}test_rows::test_no_cell_is_a_formula_for_a_spreadsheet",
        ),
    ),
    13: (
        "an image twice, a patient in two splits",
        (
            _MIXED,
            "tests.manifests.people.test_splits::test_every_patient_stands_in_one_split_that_was_asked_for",
        ),
    ),
    14: (
        "a planted name",
        (
            f"{_PRIVACY}test_no_canary_is_in_any_output_in_any_encoding_but_in_sources_csv",
            f"{_PRIVACY}test_no_canary_is_in_what_the_commands_say_beside_the_folders_they_were_given",
            f"{_PRIVACY}test_sources_csv_names_them_and_only_its_owner_reads_it_whatever_the_umask",
            f"{_PRIVACY}test_ids_are_no_plain_hash_of_what_is_known_and_differ_under_another_key",
            f"{_PRIVACY}test_ages_above_89_are_one_age",
        ),
    ),
    15: (
        "SIGKILL at any moment",
        (
            f"{_CRASHES}test_a_build_that_fails_at_a_step_on_the_disk_leaves_nothing_half_and_is_completed_to_the_"
            "same_bytes",
            f"{_CRASHES}test_a_killed_command_leaves_no_process_behind_and_a_killed_worker_no_traceback",
        ),
    ),
    16: (
        "a full or failing disk",
        (
            f"{_CRASHES}test_a_build_that_fails_at_a_step_on_the_disk_leaves_nothing_half_and_is_completed_to_the_"
            "same_bytes",
            f"{_CRASHES}test_a_full_file_system_is_one_sentence_and_with_more_room_the_build_is_completed",
        ),
    ),
    17: (
        "two builds on one folder; a stale lock",
        (
            f"{_BUILD}test_a_second_build_in_the_same_folder_is_refused_and_told_who_holds_it",
            "tests.test_files::test_the_lock_of_a_killed_process_holds_nobody_up",
        ),
    ),
    18: (
        "damaged and hostile shards",
        (
            f"{_DAMAGE}test_a_flip_in_every_region_of_every_file_is_found_and_named",
            f"{_DAMAGE}test_a_shard_cut_at_any_member_is_named_with_both_sizes",
            f"{_DAMAGE}test_whatever_is_lost_is_named_and_repair_restores_the_same_bytes",
            f"{_HERE}test_rows::test_nothing_is_ever_extracted_or_unpickled",
        ),
    ),
    19: (
        "a damaged image store",
        (
            f"{_STORE}test_a_deleted_chunk_is_an_error_and_never_air",
            f"{_STORE}test_every_flipped_byte_of_the_pixels_is_an_error",
            f"{_STORE}test_a_flipped_byte_of_the_description_is_an_error_or_changes_nothing",
            f"{_DAMAGE}test_a_damaged_store_is_named_and_never_cut_into_black_patches",
        ),
    ),
    20: (
        "a hostile or damaged checkpoint",
        (
            "tests.models.test_checkpoint::test_a_pickle_is_refused_without_running_its_code",
            "tests.models.test_checkpoint::test_a_file_cut_off_anywhere_is_refused",
            "tests.train.test_run_folder::test_a_state_with_code_in_it_runs_none",
        ),
    ),
    21: (
        "a kill or a full disk while a checkpoint is saved",
        (
            "tests.train.test_run_folder::test_a_full_disk_is_explained_and_the_state_before_stays",
            "tests.models.test_checkpoint::test_a_failed_save_leaves_the_checkpoint_before",
        ),
    ),
    22: (
        "a loss that is no number",
        ("tests.train.test_loop_bad_steps::test_steps_that_are_not_finite_are_skipped_and_counted",),
    ),
    23: (
        "a run resumed within an epoch",
        (
            "tests.train.test_loop::test_a_run_that_is_interrupted_anywhere_equals_an_undisturbed_one_to_the_bit",
        ),
    ),
    24: (
        "a hostile configuration",
        ("tests.test_config::test_what_is_no_plain_yaml_is_refused_in_one_line",),
    ),
    25: (
        "names in received files that leave the folder",
        (
            f"{_NAMES}test_a_description_with_a_name_that_leads_out_is_refused",
            f"{_NAMES}test_a_set_that_is_being_overwritten_deletes_no_foreign_file",
            f"{_NAMES}test_a_manifest_with_an_id_that_leads_out_is_refused",
            f"{_NAMES}test_images_csv_with_what_is_no_id_is_refused_before_anything_is_read_by_it",
            f"{_NAMES}test_no_member_of_a_tar_leads_out",
            f"{_NAMES}test_the_store_and_the_cache_take_no_name_that_leads_out",
        ),
    ),
    26: (
        "received stores and manifests with impossible types and sizes",
        (
            f"{_TYPES}test_a_description_with_an_impossible_value_is_refused_in_bounded_words",
            f"{_TYPES}test_a_manifest_with_impossible_rows_is_refused_by_every_command",
            f"{_TYPES}test_a_manifest_too_large_to_be_checked_at_once_kills_no_process",
            f"{_TYPES}test_a_compressed_manifest_is_refused_before_it_is_inflated",
            f"{_TYPES}test_a_record_with_impossible_values_is_refused_before_anything_is_allocated",
            f"{_TYPES}test_a_cut_of_a_store_with_impossible_records_is_one_sentence",
        ),
    ),
    28: (
        "bombs and pipes where no pool of workers stands: one job, threads, headers looked at before",
        (f"{_HERE}test_fences", _GUARD),
    ),
    29: (
        "nested JSON and YAML, giant numbers, terminal escapes, shell text in offered commands",
        (
            f"{_TEXT}test_every_reader_of_json_survives_it",
            f"{_TEXT}test_a_bad_set_beside_it_stops_no_good_one",
            "tests.test_yaml_text::test_yaml_that_repeats_itself_is_counted_before_it_is_built",
            f"{_TEXT}test_what_a_command_says_is_printable_wherever_the_words_came_from",
            f"{_TEXT}test_a_command_that_is_offered_is_one_line_whatever_a_folder_is_called",
            f"{_TEXT}test_a_cell_that_is_no_list_of_findings_costs_its_row_alone",
        ),
    ),
}


def test_every_fault_has_tests_and_every_pointer_leads_to_one() -> None:
    assert sorted(ROWS) == list(ROWS)
    assert set(range(1, 27)) | {28, 29} <= set(ROWS)
    for number, (what, pointers) in ROWS.items():
        assert what
        assert pointers, number
        for pointer in some(pointers):
            module, _, function = pointer.partition("::")
            found = importlib.import_module(module)
            assert not function or callable(getattr(found, function)), pointer


#: What could run code that somebody put into a file.
FORBIDDEN = (
    r"extractall|\.extract\(|import pickle|pickle\.load|allow_pickle\s*=\s*True|yaml\.load\("
    r"|shell\s*=\s*True|\beval\("
)


def test_nothing_is_ever_extracted_or_unpickled() -> None:
    folders = (
        "manifests",
        "shards",
        "preprocess",
        "models",
        "cvae",
        "train",
        "generate",
        "evaluate",
        "src/nlbs",
    )
    sources = [path for folder in folders for path in (ROOT / folder).glob("**/*.py")]
    assert len(sources) > 60
    for path in sources:
        code = "\n".join(line.split("  #")[0] for line in path.read_text(encoding="utf-8").splitlines())
        # A trained model is put into evaluation mode by a method of the same name.
        assert not re.search(FORBIDDEN, code.replace(".eval(", "")), path
        for call in re.findall(r"torch\.load\(.*", code):
            assert "weights_only=True" in call, path


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula_for_a_spreadsheet(text: str) -> None:
    from nlbs.preprocess.root.tables import _harmless

    assert _harmless(text) == f"'{text}"
    assert _harmless("CC") == "CC"
    assert _harmless(-1) == -1
