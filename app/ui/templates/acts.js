element.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-act]");
  // A link that is opened in another tab is a link.
  if (!asked || !element.contains(asked) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (asked.dataset.confirm && !window.confirm(asked.dataset.confirm)) return;
  const typed = asked.dataset.with ? `:${element.querySelector(asked.dataset.with).value}` : "";
  trigger("click", { act: asked.dataset.act, arg: (asked.dataset.arg || "") + typed });
});
