// Draws every figure of a page with Plotly: in the page's colours, at the width that there is.
(() => {
  const narrow = window.matchMedia("(max-width: 600px)");

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    return {
      text: get("--pst-color-text-base"),
      grid: get("--pst-color-border"),
      surface: get("--pst-color-background"),
    };
  }

  // Black lines and white edges would vanish or glare on a dark page.
  function recoloured(value, { text, surface }) {
    const swap = { "#000000": text, "#000": text, black: text, "#2a3f5f": text, white: surface };
    return JSON.parse(JSON.stringify(value), (_, item) => swap[item] ?? item);
  }

  function themed(layout, data) {
    const { text, grid, surface } = colours();
    const result = recoloured(layout, { text, surface });
    const style = (result.template ??= {}).layout ??= {};
    Object.assign(style, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
    style.font = { ...style.font, color: text };
    for (const axis of ["xaxis", "yaxis"]) {
      style[axis] = { ...style[axis], gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true };
    }
    style.hoverlabel = { ...style.hoverlabel, bgcolor: surface, font: { color: text } };
    delete result.width;
    delete style.width;
    if (narrow.matches) {
      // The legend moves from the right to the bottom, two entries in a row.
      const rows = Math.ceil(data.filter(({ showlegend }) => showlegend !== false).length / 2);
      const bottom = { orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom" };
      result.legend = { ...result.legend, ...bottom };
      result.height = (layout.height ?? style.height ?? 420) + 22 * rows;
      result.margin = { ...result.margin, l: 50, r: 10 };
      style.font.size = 12;
      for (const [name, axis] of Object.entries(result)) {
        if (/^[xy]axis\d*$/.test(name) && axis.title?.text) {
          axis.title.text = axis.title.text.replace(/(?!.{1,26}$)(.{1,26})\s/g, "$1<br>");
        }
      }
    }
    return { ...result, autosize: true };
  }

  function draw(place) {
    const { data, layout, frames } = JSON.parse(place.nextElementSibling.textContent);
    const config = { responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover" };
    // Two or more panels side by side need room of their own; the figure then scrolls.
    const axes = Object.entries(layout).filter(([name]) => /^xaxis\d*$/.test(name));
    const columns = new Set(axes.map(([, { domain = [0] }]) => domain[0])).size;
    place.style.minWidth = columns > 1 ? "34rem" : "";
    Plotly.newPlot(place, { data: recoloured(data, colours()), layout: themed(layout, data), frames, config });
  }

  const places = [...document.querySelectorAll(".course-plot")];
  // Only what is near the window: a page may have a dozen figures.
  const seen = new Set();
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && !seen.has(target)) {
          seen.add(target);
          draw(target);
        }
      }
    },
    { rootMargin: "600px" },
  );
  const redraw = () => seen.forEach(draw);
  places.forEach((place) => watcher.observe(place));
  narrow.addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  // On paper every figure stands, also one that was never scrolled to.
  window.addEventListener("beforeprint", () => places.filter((place) => !seen.has(place)).forEach(draw));
})();
