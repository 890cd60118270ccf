// Modules that figures need are read and compiled once the page has been filled in.
const filled = new MutationObserver(() => {
  if (!document.querySelector("#lu-head")?.textContent.trim()) return;
  filled.disconnect();
  requestIdleCallback(() => {
    // What cannot be read now is read, and told of, when gradio needs it.
    for (const path of FIGURES) import(new URL(path, document.baseURI)).catch(() => {});
  });
});
filled.observe(document, { childList: true, subtree: true });
