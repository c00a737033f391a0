// The quizzes of a page, and its start. After page.js.

// Wilson's interval of 95 % (1927, J. Am. Statist. Assoc. 22:209).
function wilson(hits, rows) {
  const z = 1.959963984540054, share = hits / rows, scale = 1 + z ** 2 / rows;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / rows + z ** 2 / (4 * rows ** 2));
  const centre = (share + z ** 2 / (2 * rows)) / scale;
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

const percent = (share) => `${Math.round(100 * share)} %`;

function quizOf({ title, question, choices, note, items }, place) {
  const picture = el("div"), answer = el("p", { role: "status" }), score = el("p", { class: "score" });
  const given = []; // the places of the choices that were taken
  const buttons = choices.map((word, choice) => el("button", { type: "button", onclick: () => take(choice) }, word));
  const next = el("button", { type: "button", onclick: () => show(), disabled: true }, "Next");
  const csv = el("button", { type: "button", onclick: saved, disabled: true }, "Download answers (CSV)");
  const right = () => given.filter((choice, item) => choice === items[item][1]).length;

  function show() {
    const [image, , told] = items[given.length];
    const stored = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0)), area = page.edge ** 2;
    const planar = stored.map((_, i) => stored[page.channels * (i % area) + Math.floor(i / area)]);
    const caption = `${given.length + 1} of ${items.length}${told && `: ${told}`}`;
    picture.replaceChildren(figure(canvasOf(planar, `Patch ${caption}`), caption));
    for (const button of buttons) button.disabled = false;
    next.disabled = true;
    answer.textContent = "";
    if (given.length) buttons[0].focus();
  }

  function take(choice) {
    const truth = items[given.length][1];
    given.push(choice);
    for (const button of buttons) button.disabled = true;
    next.disabled = given.length === items.length;
    csv.disabled = false;
    const [low, high] = wilson(right(), given.length).map(percent);
    answer.textContent = `${choice === truth ? "Right" : "Wrong"}: it is ${choices[truth]}.`;
    score.textContent = `${right()} of ${given.length} right, ${percent(right() / given.length)} (95 % interval ${low} to ${high})`;
    (next.disabled ? csv : next).focus();
  }

  function saved() {
    const cell = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const lines = given.map((choice, item) => {
      const [, truth, told] = items[item];
      return [item + 1, told, choices[choice], choices[truth], choice === truth ? "yes" : "no"].map(cell).join(",");
    });
    const head = "picture,conditions,answer,truth,right";
    download(new Blob([[head, ...lines, ""].join("\n")], { type: "text/csv" }), `answers-${place + 1}.csv`);
  }

  const id = `quiz-${place}`;
  const all = el("section", { class: "quiz", id, "aria-labelledby": `${id}-title` });
  all.append(el("h2", { id: `${id}-title` }, title), el("p", {}, question), picture);
  all.append(el("div", { class: "buttons", role: "group", "aria-label": question }, ...buttons, next));
  all.append(answer, score, csv, el("p", { class: "note" }, note));
  show();
  return all;
}

// The start ----------------------------------------------------------------------------------------------------------

buildControls();
$("quizzes").append(...page.quizzes.map(quizOf));
try {
  say("Loading the model");
  await load();
  await draw();
} catch (error) {
  const served = location.protocol === "file:" ? " A page of several files has to come from a web server." : "";
  say(`The page cannot draw: ${error.message}.${served}`);
}
