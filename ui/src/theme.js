// Runs before the first paint: what the person chose, otherwise what the system says.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("modelkeep.theme");
  } catch (error) {
    chosen = null;
  }
  var dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
