// The score sheet: answers of one reader as the rows of sheet.csv, and back.
// answers: {"0001.A.sharpness": 4, ..., "0001.preferred": "A", "B" or "none"}

function questionsOf(study, pair) {
  const scores = study.criteria.flatMap(name => ["A", "B"].map(side => `${pair}.${side}.${name}`));
  return [...scores, `${pair}.preferred`];
}

function unanswered(study, answers) {
  return study.pairs.flatMap(pair => questionsOf(study, pair)).filter(question => !(question in answers));
}

function headerOf(study) {
  return ["reader", "kit", "pair", "side", ...study.criteria, "preferred"];
}

function sheetText(study, reader, answers) {
  const rows = study.pairs.flatMap(pair => ["A", "B"].map(side => {
    const choice = answers[`${pair}.preferred`];
    const preferred = choice === undefined ? "" : choice === side ? 1 : 0;
    const scores = study.criteria.map(name => answers[`${pair}.${side}.${name}`] ?? "");
    return [reader, study.kit, pair, side, ...scores, preferred];
  }));
  return [headerOf(study), ...rows].map(row => row.join(",") + "\n").join("");
}

// Throws an Error whose message is for the reader.
function answersOf(study, text) {
  const [header, ...rows] = text.replace(/^\ufeff/, "").trim().split(/\r?\n/).map(line => line.split(","));
  if (header.join() !== headerOf(study).join()) throw new Error("This file is not a sheet of this page.");
  const answers = {};
  let reader = "";
  for (const cells of rows) {
    const row = Object.fromEntries(header.map((name, index) => [name, cells[index] ?? ""]));
    if (row.kit !== study.kit || !study.pairs.includes(row.pair) || !["A", "B"].includes(row.side)) {
      throw new Error("This sheet belongs to another kit.");
    }
    reader ||= row.reader;
    for (const name of study.criteria) {
      if (/^[1-5]$/.test(row[name])) answers[`${row.pair}.${row.side}.${name}`] = Number(row[name]);
    }
    if (row.preferred === "1") answers[`${row.pair}.preferred`] = row.side;
    if (row.preferred === "0") answers[`${row.pair}.preferred`] ??= "none";
  }
  return { reader, answers };
}
