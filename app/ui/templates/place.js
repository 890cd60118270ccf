// The place stands in the URL, so that a reload or a link comes back to it.
window.luthierPlace = () => JSON.stringify(Object.fromEntries(new URLSearchParams(location.search)));
window.luthierFilter = (states, text) => {
  const url = new URL(location.href);
  for (const [name, value] of [["states", (states || []).join(",")], ["text", text || ""], ["page", ""]]) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  if (url.href !== location.href) history.replaceState(history.state, "", url);
};
window.luthierGo = (text) => {
  const place = JSON.parse(text || "{}");
  const usual = { panel: "trials", sort: "number", descending: true, page: 0 };
  const url = new URL(location.href);
  for (const name of ["study", "conversation", "panel", "trial", "compare", "sort", "descending", "page"]) {
    if (!(name in place)) continue;
    const value = place[name];
    const empty = value === null || value === undefined || value === usual[name] || value.length === 0;
    if (empty) url.searchParams.delete(name);
    else url.searchParams.set(name, String(value));
  }
  if (url.href !== location.href) history.replaceState(history.state, "", url);
};
