element.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-act]");
  // A link that is opened in another tab is a link.
  if (!asked || !element.contains(asked) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (asked.dataset.confirm && !window.confirm(asked.dataset.confirm)) return;
  const typed = asked.dataset.with ? `:${element.querySelector(asked.dataset.with).value}` : "";
  const form = asked.dataset.form ? `:${JSON.stringify(Object.fromEntries([...element.querySelectorAll(`${asked.dataset.form} [name]`)]
    .map((field) => [field.name, field.type === "checkbox" ? (field.checked ? "on" : "") : field.value])))}` : "";
  trigger("click", { act: asked.dataset.act, arg: (asked.dataset.arg || "") + typed + form });
});
