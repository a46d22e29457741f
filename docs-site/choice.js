// The choice of a version where the site is read from a folder: a browser lets no page there fetch versions.json, as the theme does
// on a server. Same look, same place. Needs ../versions.js of the site.
if (location.protocol === "file:" && window.mayflyVersions && mayflyVersions.length > 1) {
  const here = new URL(document.querySelector("[data-versions]").dataset.versions, location.href);
  const name = here.pathname.split("/").filter(Boolean).pop();
  const choice = document.createElement("div");
  choice.className = "md-version";
  const shown = document.createElement("button");
  shown.className = "md-version__current";
  shown.textContent = name;
  const list = document.createElement("ul");
  list.className = "md-version__list";
  for (const { version, title } of mayflyVersions) {
    const link = document.createElement("a");
    link.className = "md-version__link";
    link.href = new URL(`../${version}/index.html`, here).href;
    link.textContent = title;
    const item = document.createElement("li");
    item.className = "md-version__item";
    item.append(link);
    list.append(item);
  }
  choice.append(shown, list);
  document.querySelector(".md-header__topic").append(choice);
}
