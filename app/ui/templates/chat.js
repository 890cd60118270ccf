// The newest words stay in sight, unless somebody reads what came before.
{
  let atEnd = true;
  document.addEventListener("scroll", ({ target }) => {
    if (target.id === "lu-talk") atEnd = target.scrollTop + target.clientHeight > target.scrollHeight - 60;
  }, true);
  new MutationObserver(() => {
    const talk = document.querySelector("#lu-talk");
    if (talk && atEnd) talk.scrollTop = talk.scrollHeight;
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
}
