/*
 * What the server says of a file before anything of it is published, in whatever words it says it:
 * objects as names and values, lists of objects as tables, all as text.
 */

import { make } from "./dom.js";

/** Rows of a table at most: it is a look, not the file. */
const ROWS = 20;

const title = (name) => {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
};
const plain = (value) => value === null || typeof value !== "object";
const text = (value) => (value === null ? "–" : value === true ? "yes" : value === false ? "no" : String(value));

/** What was said, as a node. */
export function preview(said) {
  return make("div", { class: "preview", role: "group", "aria-label": "Preview" }, shown(said));
}

function shown(value) {
  if (plain(value)) return make("span", {}, text(value));
  if (Array.isArray(value)) return list(value);
  const fields = Object.entries(value).filter(([, one]) => !(Array.isArray(one) && one.length === 0));
  return make("dl", { class: "terms" }, ...fields.flatMap(([name, one]) => [make("dt", {}, title(name)), make("dd", {}, shown(one))]));
}

function list(values) {
  if (values.every(plain)) return make("span", {}, values.map(text).join(", "));
  if (!values.every((one) => one && !Array.isArray(one))) return make("div", {}, ...values.slice(0, ROWS).map(shown));
  const names = [...new Set(values.flatMap(Object.keys))];
  const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, title(name))));
  const rows = values.slice(0, ROWS).map((one) => make("tr", {}, ...names.map((name) => make("td", {}, name in one ? shown(one[name]) : ""))));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" }, table);
}
