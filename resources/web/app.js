/*
 * Begins the page: what the server does, who sits here, and then the view that the address names.
 */

import { Fault, learn } from "./api.js";
import { problem } from "./dom.js";
import { begin as routes } from "./router.js";
import { who } from "./session.js";

const main = document.getElementById("main");

async function begin() {
	try {
		await learn();
		await who();
	} catch (fault) {
		if (!(fault instanceof Fault)) throw fault;
		return problem(main, fault, begin);
	}
	routes();
}

// What nobody foresaw is told, not swallowed.
addEventListener("unhandledrejection", ({ reason }) => {
	if (reason?.name !== "AbortError") console.error(reason);
});

// A file that is dropped where none is taken must not replace the page.
for (const name of ["dragover", "drop"]) {
	addEventListener(name, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
}

begin();
