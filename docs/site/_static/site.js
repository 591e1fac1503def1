// Films read their colours from the page: tell them when the reader turns light into dark. They watch the body's class.
new MutationObserver(() => {
  document.body.classList.toggle("is-dark", document.documentElement.dataset.theme === "dark");
}).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
