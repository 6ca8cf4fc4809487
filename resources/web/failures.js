/*
 * What has failed, and where: messages that are dead, and cells and rows that the reader rejected or
 * warns of. Looked up again, now and then, while the counts grow.
 */

import { ask, can, fill } from "./api.js";
import { button, keep, make, part, problem, write } from "./dom.js";
import { count, moment } from "./format.js";
import { values } from "./rows.js";

/** Shown at first, and by each further step. */
const STEP = 25;
/** How often is looked while the counts grow, in milliseconds. */
const EVERY = 2_000;

/** The failures of an upload, in its view; `tell` it the counts. */
export function failures(view, id, signal) {
	const dead = table(part(view, "dead"), "Failed while being processed", (limit) => deadOf(id, limit, signal), deadRow(signal), signal);
	const rejects = table(part(view, "rejects"), "Found in the file", (limit) => rejectsOf(id, limit, signal), rejectRow, signal);
	const none = view.querySelector('[data-say="noFailures"]');
	return {
		tell(counts) {
			dead.tell(counts.dead);
			rejects.tell(counts.rejected + counts.warnings + counts.duplicates);
			none.hidden = counts.dead + counts.rejected + counts.warnings > 0;
		},
	};
}

/** Results come in pages that may hold fewer than asked for. */
async function deadOf(id, limit, signal) {
	if (!can("GET", "/results")) return { data: [], more: false };
	const data = [];
	let after = "";
	for (let pages = 0; pages < 20 && data.length < limit; pages++) {
		const page = await ask("GET", `results?upload=${id}&status=dead&limit=${limit - data.length}${after}`, { signal });
		data.push(...page.data);
		if (!page.next) return { data, more: false };
		after = `&after=${encodeURIComponent(page.next)}`;
	}
	return { data, more: true };
}

async function rejectsOf(id, limit, signal) {
	const page = await ask("GET", `${fill("uploads/{id}/rejects", { id })}?limit=${limit}`, { signal });
	return { data: page.data.map((one, at) => ({ ...one, id: at })), more: page.next !== null };
}

/** A table that is looked up again when its number has changed. */
function table(place, caption, load, row, signal) {
	const body = make("tbody");
	const head = make("tr", {}, make("th", { scope: "col" }, "Where"), make("th", { scope: "col" }, "What is wrong"));
	const title = make("caption", {}, caption);
	const shown = make("table", { class: "failures" }, title, make("thead", {}, head), body);
	const more = button("Show more", () => { limit += STEP; look(); });
	const trouble = make("div");
	let limit = STEP;
	let known = 0;
	let seen = 0;
	let timer = null;
	let looking = false;
	let asked = Promise.resolve();

	async function look() {
		clearTimeout(timer);
		timer = null;
		if (looking || signal.aborted) return;
		looking = true;
		seen = known;
		try {
			const found = await load(Math.min(limit, 1000));
			const born = (one) => {
				const made = row(one);
				// What it asks for comes one after another, so that a long list is no storm.
				if (made.fetch) asked = asked.then(made.fetch);
				return made;
			};
			keep(body, found.data, { id: (one) => one.id, born, tell: () => {} });
			more.hidden = !found.more || limit >= 1000;
			if (!shown.isConnected) place.replaceChildren(shown, more, trouble);
			trouble.replaceChildren();
		} catch (fault) {
			if (!signal.aborted && fault.status !== 401) {
				if (!trouble.isConnected) place.append(trouble);
				problem(trouble, fault, look);
			}
		}
		looking = false;
		if (known !== seen) later();
	}
	function later() {
		timer ??= setTimeout(look, EVERY);
	}
	return {
		tell(number) {
			if (number === known) return;
			const first = known === 0;
			known = number;
			write(title, `${caption}: ${count(number, "entry", "entries")}`);
			place.hidden = number === 0;
			if (first) look();
			else later();
		},
	};
}

function rejectRow({ address, rejected, detail }) {
	const kind = make("span", { class: "pill", "data-kind": rejected ? "dead" : "odd" }, rejected ? "Rejected" : "Warning");
	return make("tr", {}, make("th", { scope: "row" }, make("code", {}, address)), make("td", {}, kind, " ", detail));
}

/** Of a dead message the sheet and the values are with the message itself. */
const deadRow = (signal) => ({ id, row, queue, error, attempts, finished_at }) => {
	const where = make("code", {}, row === null ? "–" : `Row ${row}`);
	const about = [`Queue ${queue}`, attempts && `after ${count(attempts, "attempt")}`, finished_at && moment(new Date(finished_at))];
	const details = make("details", { hidden: true }, make("summary", {}, "Values of the row"));
	const made = make("tr", {},
		make("th", { scope: "row" }, where),
		make("td", {},
			make("span", { class: "error" }, error || "No reason was given"),
			make("span", { class: "soft" }, about.filter(Boolean).join(" · ")),
			details));
	if (!can("GET", "/messages/{message}")) return made;
	made.fetch = async () => {
		if (signal.aborted) return;
		try {
			const { sheet, data } = await ask("GET", `messages/${encodeURIComponent(id)}`, { signal });
			if (sheet) where.textContent = `${sheet}!${row}`;
			details.append(values(data));
			details.hidden = false;
		} catch { /* the row stands there without */ }
	};
	return made;
};
