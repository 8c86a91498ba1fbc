/* Tables and blocks that scroll can be reached and scrolled by keyboard. */
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .highlight pre, .highlight code")) {
    box.tabIndex = 0;
  }
  // names of what the theme leaves without one
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll("nav.md-nav[aria-labelledby]").forEach((nav, number) => {
    const label = document.getElementById(nav.getAttribute("aria-labelledby"));
    if (label) nav.setAttribute("aria-label", `${label.textContent.trim()} (${number + 1})`), nav.removeAttribute("aria-labelledby");
  });
});
