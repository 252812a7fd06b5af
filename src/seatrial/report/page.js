// Draws each figure when it comes into view, in the colours of the page, and all of them for print.
(function () {
  "use strict";
  const text = document.getElementById("figures").textContent;
  const figures = JSON.parse(text);
  // Blue and vermillion that stand out from paper are too dim on a dark screen.
  const bright = JSON.parse(text.replaceAll("#0072B2", "#4AA3DF").replaceAll("#D55E00", "#F08A4B"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const places = Array.from(document.querySelectorAll(".plot"));
  const drawn = new Set();
  const INKS = {
    light: { text: "#1d2125", grid: "#e4e6ea", line: "#9aa0a8", back: "#ffffff" },
    dark: { text: "#d8dce2", grid: "#2e343c", line: "#6c747f", back: "#22272e" },
  };

  function draw(place, width) {
    const night = dark.matches && !width;
    const ink = night ? INKS.dark : INKS.light;
    const figure = (night ? bright : figures)[place.id];
    const layout = JSON.parse(JSON.stringify(figure.layout));
    layout.font.color = ink.text;
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: ink.back, font: { color: ink.text } };
    for (const [name, axis] of Object.entries(layout)) {
      if (/^[xy]axis\d*$/.test(name)) {
        Object.assign(axis, { gridcolor: ink.grid, linecolor: ink.line, zerolinecolor: ink.line });
        axis.tickcolor = ink.line;
      }
    }
    if (width) {
      layout.width = width;
    }
    Plotly.react(place, figure.data, layout, { responsive: !width, displayModeBar: false });
    drawn.add(place);
  }

  const seen = new IntersectionObserver(
    function (entries) {
      for (const entry of entries) {
        if (entry.isIntersecting && !drawn.has(entry.target)) {
          draw(entry.target);
        }
      }
    },
    { rootMargin: "800px" }
  );
  places.forEach((place) => seen.observe(place));
  dark.addEventListener("change", () => drawn.forEach((place) => draw(place)));
  // Paper is narrower than the screen and always light.
  window.addEventListener("beforeprint", () =>
    places.forEach((place) => draw(place, place.closest(".pair, .triple") ? 330 : 660))
  );
  window.addEventListener("afterprint", () => places.forEach((place) => draw(place)));
})();
