/* The rows of an upload as they were read, with how each stands. */

import { ask } from "./api.js";
import { ended } from "./bars.js";
import { button, keep, make, problem, write } from "./dom.js";

/** Rows at first, and by each further step. */
const STEP = 20;
/** How often is looked while messages end, in milliseconds. */
const EVERY = 5_000;

const WORDS = { waiting: ["Waiting", "wait"], in_flight: ["In flight", "busy"], done: ["Done", "done"], dead: ["Failed", "dead"], expired: ["Expired", "gone"], cancelled: ["Cancelled", "gone"] };

/** A cell's value as it is in the file, more or less. */
export const text = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** A row's values by their columns. */
export function values(data) {
	const fields = Object.entries(data).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, text(value))]);
	return make("dl", { class: "terms values" }, ...fields);
}

/** The table; `tell` it how the upload is. */
export function rows(place, path, signal) {
	const head = make("tr");
	const body = make("tbody");
	const caption = make("caption", { class: "unseen" }, "Rows of the file, each with its state");
	const table = make("table", {}, caption, make("thead", {}, head), body);
	const scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rows of the file" }, table);
	const again = button("Look again", () => look());
	const more = button("More rows", () => { limit += STEP; look(); });
	const note = make("p", { class: "soft" }, "No row has been published yet.");
	const trouble = make("div");
	place.replaceChildren(note, trouble);
	let limit = STEP;
	let seen = "";
	let over = 0;
	let timer = null;
	let columns = [];

	async function look() {
		clearTimeout(timer);
		timer = null;
		if (signal.aborted) return;
		try {
			const page = await ask("GET", `${path}/rows?limit=${Math.min(limit, 1000)}`, { signal });
			trouble.replaceChildren();
			if (page.data.length === 0) return;
			const names = [...new Set(page.data.flatMap(({ data }) => Object.keys(data)))];
			if (names.join("\n") !== columns.join("\n")) {
				columns = names;
				head.replaceChildren(...["Row", "State", ...names].map((name) => make("th", { scope: "col" }, name)));
				body.replaceChildren();
			}
			keep(body, page.data, { id: ({ sheet, row }) => `${sheet}!${row}`, born: (one) => born(one, columns), tell });
			more.hidden = !page.next || limit >= 1000;
			if (!scroll.isConnected) place.replaceChildren(scroll, make("p", { class: "acts" }, again, more), trouble);
		} catch (fault) {
			if (!signal.aborted && fault.status !== 401) problem(trouble, fault, look);
		}
	}
	return {
		tell({ status, counts }) {
			if (counts.published === 0 && counts.unrouted === 0) return;
			const before = over;
			over = ended(counts);
			// At once when it begins, is read and ends; now and then in between.
			if (status !== seen) look();
			else if (over !== before) timer ??= setTimeout(look, EVERY);
			seen = status;
		},
	};
}

function born({ sheet, row, data }, columns) {
	const where = sheet ? `${sheet}!${row}` : String(row);
	return make("tr", {},
		make("th", { scope: "row", title: where }, String(row)),
		make("td"),
		...columns.map((name) => make("td", {}, text(data[name]))));
}

function tell(node, { messages }) {
	const pills = node.children[1];
	keep(pills, messages.length > 0 ? messages : [{ id: "none", state: null }], {
		id: ({ id }) => id,
		born: () => make("span", { class: "pill" }),
		tell: (pill, { state, queue }) => {
			const [word, kind] = state ? (WORDS[state] ?? [state, "wait"]) : ["No queue takes it", "gone"];
			write(pill, messages.length > 1 ? `${queue}: ${word}` : word);
			pill.dataset.kind = kind;
		},
	});
}
