// Draws the plots in place of the pictures; a picture whose plot can't be drawn stays.
async function drawPlots(data) {
  const id = data.id.replace(/-data$/, ""), place = document.getElementById(id);
  try {
    for (const figure of JSON.parse(data.textContent)) {
      const target = document.createElement("div");
      place.append(target);
      await Bokeh.embed.embed_item(figure, target);
    }
    document.getElementById(id + "-still").hidden = true;
  } catch (error) {
    place.replaceChildren();
    console.error(error);
  }
}
document.querySelectorAll('script[type="application/json"][id$="-data"]').forEach(drawPlots);
