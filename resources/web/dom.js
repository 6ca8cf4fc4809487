/*
 * What the page is made of: copies of the templates in index.html, filled by text alone. Nothing
 * that comes from a file or a server is ever read as markup.
 */

/** A copy of what a template holds. */
export function copy(template) {
	return document.getElementById(`t-${template}`).content.firstElementChild.cloneNode(true);
}

/** The place in a copy that is called so. */
export function part(root, name) {
	return root.querySelector(`[data-part="${name}"]`);
}

/** Writes texts into their places; what is written already is left alone. */
export function say(root, texts) {
	for (const [name, text] of Object.entries(texts)) {
		for (const place of root.querySelectorAll(`[data-say="${name}"]`)) write(place, text);
	}
}

/** Writes a text unless it is there: who has marked it keeps the mark, and nothing is drawn again. */
export function write(place, text) {
	const now = text == null ? "" : String(text);
	if (place.textContent !== now) place.textContent = now;
}

/** An element with attributes, listeners (`onclick`) and children: nodes, or texts. */
export function make(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (value === undefined || value === null || value === false) continue;
		if (typeof value === "function") element.addEventListener(name.slice(2), value);
		else element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.filter((child) => child !== null && child !== undefined));
	return element;
}

/** A button. */
export function button(text, act, attributes = {}) {
	return make("button", { type: "button", onclick: act, ...attributes }, text);
}

/** Keeps a list's children in step with data: each is made once, then only told what is new. */
export function keep(list, data, { id, born, tell }) {
	const there = new Map([...list.children].map((child) => [child.dataset.id, child]));
	let before = null;
	for (const one of data) {
		const key = String(id(one));
		let child = there.get(key);
		if (!child) {
			child = born(one);
			child.dataset.id = key;
		}
		there.delete(key);
		tell(child, one);
		const after = before ? before.nextSibling : list.firstChild;
		if (after !== child) list.insertBefore(child, after);
		before = child;
	}
	for (const gone of there.values()) gone.remove();
}

/** Numbers with their names, as tiles. */
export function tiles(list, data) {
	keep(list, data, {
		id: ([name]) => name,
		born: ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
		tell: (tile, [, value, kind]) => {
			write(tile.lastChild, value);
			tile.dataset.kind = kind ?? "";
		},
	});
}

/** Shows a problem where something should have been. */
export function problem(place, fault, again) {
	const shown = copy("problem");
	say(shown, { title: fault.title ?? "That did not work", detail: fault.detail ?? fault.message });
	if (again) {
		part(shown, "again").hidden = false;
		part(shown, "again").firstElementChild.addEventListener("click", again);
	}
	place.replaceChildren(shown);
}

/** Says that there is nothing yet. */
export function empty(place, title, text) {
	const shown = copy("empty");
	say(shown, { title, text });
	place.replaceChildren(shown);
}

/** Says that something is being looked up. */
export function loading(place) {
	place.replaceChildren(make("p", { class: "loading", role: "status" }, "Loading…"));
}
