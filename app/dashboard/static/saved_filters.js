// Filters of the list of jobs under names of the reader's own, which this browser keeps.

const KEPT = "ddservice.filters";

export class SavedFilters {
  #root;

  constructor(root) {
    this.#root = root;
    root.querySelector("form").addEventListener("submit", (event) => this.#save(event));
    root.addEventListener("click", (event) => this.#forget(event.target.closest("[data-forget]")?.dataset.forget));
    // Another window may have saved or forgotten one.
    addEventListener("storage", () => this.#show());
    this.#show();
  }

  #save(event) {
    event.preventDefault();
    const field = event.target.elements.called;
    const query = new URLSearchParams(location.search);
    query.delete("cursor");
    this.#keep({ ...kept(), [field.value.trim()]: query.toString() });
    field.value = "";
  }

  #forget(name) {
    if (name === undefined) return;
    const { [name]: _, ...others } = kept();
    this.#keep(others);
    this.#root.querySelector("summary").focus();
  }

  #keep(filters) {
    const said = this.#root.querySelector("[data-said]");
    try {
      localStorage.setItem(KEPT, JSON.stringify(filters));
      said.textContent = "";
    } catch (error) {
      said.textContent = `This browser keeps nothing for this page (${error.name}): bookmark its address instead.`;
    }
    this.#show();
  }

  #show() {
    const names = Object.entries(kept()).sort(([a], [b]) => a.localeCompare(b));
    this.#root.querySelector("ul").replaceChildren(...names.map(([name, query]) => entry(name, query)));
    this.#root.querySelector("[data-count]").textContent = names.length ? ` (${names.length})` : "";
  }
}

function entry(name, query) {
  const [item, link, button] = ["li", "a", "button"].map((tag) => document.createElement(tag));
  Object.assign(link, { href: `/?${query}`, textContent: name });
  if (query === new URLSearchParams(location.search).toString()) link.setAttribute("aria-current", "page");
  Object.assign(button, { type: "button", className: "quiet", textContent: "Forget" });
  button.setAttribute("aria-label", `Forget ${name}`);
  button.dataset.forget = name;
  item.append(link, " ", button);
  return item;
}

// What is kept, by name; nothing where the browser keeps nothing, or where somebody else has written there.
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([, query]) => typeof query === "string"));
  } catch (error) {
    console.info(`saved filters cannot be read: ${error.message}`);
    return {};
  }
}
