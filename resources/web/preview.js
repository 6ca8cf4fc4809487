/* What a file is, as the server reads it, before anything of it is published. */

import { make } from "./dom.js";
import { count, lasting, percent } from "./format.js";
import { text } from "./rows.js";

const KINDS = { text: "text", integer: "whole number", number: "number", boolean: "yes or no", date: "date", date_time: "date and time", time: "time", duration: "duration" };
const ORDERS = { day_first: "DD/MM", month_first: "MM/DD", ambiguous: "DD/MM or MM/DD: no cell tells", mixed: "some DD/MM, some MM/DD" };

/** A look at a file, as a node. */
export function preview({ filename, corrects, counts, estimate, findings, duplicates, workbook, sheets }) {
	const left = workbook.filter(({ chosen }) => !chosen).map(({ name, hidden }) => (hidden ? `${name} (hidden)` : name));
	const facts = [
		`${count(counts.rows, "row")} to be published`,
		corrects && "corrects an upload: only these rows run",
		counts.blank > 0 && `${count(counts.blank, "blank row")} left out`,
		`reading takes about ${lasting(Math.max(1, estimate.reading_seconds))}`,
		estimate.working_seconds !== null && `work at the present rate about ${lasting(Math.max(1, estimate.working_seconds))}`,
		left.length > 0 && `not read: ${few(left)}`,
	];
	const notes = [
		counts.rejected > 0 && `${count(counts.rejected, "row")} would be rejected: ${found(findings, true)}`,
		counts.warnings > 0 && `${count(counts.warnings, "warning")}: ${found(findings, false)}`,
		duplicates.rows > 0 && `${count(duplicates.rows, "row comes", "rows come")} again: ${few(duplicates.first.map(({ address, first }) => `${address} is as ${first}`))}`,
		...sheets.flatMap(({ columns }) => columns).flatMap(({ name, kind, disagreeing, disagree, numbers_as_text: numbers }) => [
			disagreeing > 0 && `${name}: ${count(disagreeing, "cell is", "cells are")} no ${KINDS[kind]}: ${few(disagree.map((one) => `${one.address} (${KINDS[one.kind]})`))}`,
			numbers > 0 && `${name}: ${count(numbers, "number is", "numbers are")} stored as text`,
		]),
	].filter(Boolean);
	return make("div", { class: "preview", role: "group", "aria-label": `Preview of ${filename}` },
		make("p", {}, `${facts.filter(Boolean).join(", ")}.`),
		notes.length > 0 ? make("ul", {}, ...notes.map((note) => make("li", {}, note))) : make("p", {}, "Nothing in it looks wrong."),
		...sheets.flatMap(sheet));
}

function sheet({ name, header_row: row, header_because: why, columns, first }) {
	const named = name ?? "the file";
	const dated = columns.some(({ dates }) => ORDERS[dates?.order]);
	const keys = [...new Set(first.flatMap(({ data }) => Object.keys(data)))].slice(0, columns.length);
	return [
		make("p", { class: "soft" }, `Row ${row} of ${named} names the columns: ${why === "told" ? "as you said" : "the first with something in it"}.`),
		table(`Columns of ${named}`, ["Column", "Name", "Kind", "Filled", ...(dated ? ["Dates in text"] : [])], columns.map(({ column, name, kind, filled, blank, dates }) =>
			[column, name, KINDS[kind] ?? "empty", `${percent(filled, filled + blank)} %`, ...(dated ? [ORDERS[dates?.order] ?? ""] : [])])),
		table(`First rows of ${named}`, ["Row", ...keys], first.map(({ row, data }) => [row, ...keys.map((key) => text(data[key]))])),
	];
}

const found = (all, rejected) => few(all.filter((one) => one.rejected === rejected).map(({ address, detail }) => `${address}: ${detail}`), "; ");
const few = (all, between = ", ") => all.slice(0, 5).join(between) + (all.length > 5 ? " and others" : "");

function table(caption, names, rows) {
	const line = (cell, values) => make("tr", {}, ...values.map((value) => make(cell, cell === "th" ? { scope: "col" } : {}, value)));
	return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
		make("table", {}, make("caption", {}, caption), make("thead", {}, line("th", names)), make("tbody", {}, ...rows.map((row) => line("td", row)))));
}
