/* Who consumed which queue lately, as far as this server has seen. */

import { ask, can, fill } from "./api.js";
import { keep, make, part, write } from "./dom.js";
import { number, rate, when } from "./format.js";

/** How often is looked, in milliseconds. */
const EVERY = 5_000;

/** Shows the workers of all queues, or of one, in their section of a view until `signal` fires. */
export function workers(view, signal, queue) {
	const section = part(view, "workers");
	section.hidden = !can("GET", "/workers");
	if (section.hidden) return;
	const body = make("tbody");
	const names = ["Worker", ...(queue ? [] : ["Queue"]), "In flight", "Settled", "Rate", "Last seen"];
	const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
	const table = make("table", {}, make("caption", { class: "unseen" }, "Workers"), make("thead", {}, head), body);
	const scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Workers seen lately" }, table);
	const none = make("p", { class: "soft" }, "No worker has come to this server lately.");

	const look = async () => {
		if (document.hidden) return;
		try {
			const { data } = await ask("GET", "workers", { signal });
			const shown = queue ? data.filter((one) => one.queue === queue) : data;
			keep(body, shown, { id: (one) => `${one.queue} ${one.name}`, born: (one) => born(one, queue), tell });
			const now = shown.length > 0 ? scroll : none;
			const place = part(section, "list");
			if (place.firstChild !== now) place.replaceChildren(now);
		} catch { /* what was seen stays; that the server is away is told above */ }
	};
	look();
	const timer = setInterval(look, EVERY);
	signal.addEventListener("abort", () => clearInterval(timer));
}

function born({ name, queue }, only) {
	const link = () => make("td", {}, make("a", { href: fill("#/queues/{id}", { id: queue }) }, queue));
	const cells = [1, 2, 3].map(() => make("td"));
	return make("tr", {}, make("th", { scope: "row" }, name), ...(only ? [] : [link()]), ...cells, make("td", {}, make("time")));
}

function tell(row, { in_flight, settled, settled_per_second, last_seen_at }) {
	const texts = [number(in_flight), number(settled), rate(settled_per_second)];
	const cells = [...row.children].slice(-4);
	texts.forEach((text, at) => write(cells[at], text));
	when(cells[3].firstChild, last_seen_at);
}
