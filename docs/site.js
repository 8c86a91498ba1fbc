/* Tables and blocks that scroll can be reached and scrolled by keyboard. */
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .highlight pre, .highlight code")) {
    box.tabIndex = 0;
  }
});
