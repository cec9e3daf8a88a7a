(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("theme") || "auto";
  } catch {}
  const show = () => {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };
  show();

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Browsers offer the clipboard to pages from https and localhost only.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  const addCopyButton = (place, text, name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", name);
    button.addEventListener("click", async () => {
      await copy(text());
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    place.append(button);
  };

  const setUpTheme = () => {
    const button = document.querySelector(".theme");
    const label = () => {
      button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
      button.setAttribute("aria-label", `Colours: ${theme}`);
    };
    label();
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      try {
        localStorage.setItem("theme", theme);
      } catch {}
      show();
      label();
    });
  };

  // The form on the home page: its lines change while somebody types.
  const setUpUsage = (form) => {
    const field = (name) => form.elements.namedItem(name);
    const update = () => {
      const registry = field("registry").value.trim().toLowerCase().replace(/\/+$/, "");
      const namespace = field("namespace").value.trim().toLowerCase().replace(/^\/+|\/+$/g, "");
      const path = [registry, namespace].filter(Boolean).join("/") || "REGISTRY/NAMESPACE";
      const last = path.split("/").pop();
      const name = last.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "packages";
      const github = path.startsWith("ghcr.io/");
      const slots = {
        path,
        name,
        NAME: name.replaceAll("-", "_").toUpperCase(),
        user: github ? "github.actor" : "secrets.REGISTRY_USER",
        token: github ? "secrets.GITHUB_TOKEN" : "secrets.REGISTRY_TOKEN",
      };
      for (const element of document.querySelectorAll("[data-slot]")) {
        element.textContent = slots[element.dataset.slot];
      }
    };
    form.addEventListener("input", update);
  };

  // The list of projects: rows that don't match what somebody types are hidden.
  const setUpFilter = (input) => {
    const rows = [...document.querySelectorAll(".projects > li")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const count = document.querySelector("[data-count]");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = words.length ? `${shown} of ${rows.length} on this page` : "";
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    setUpTheme();
    for (const block of document.querySelectorAll(".code")) {
      addCopyButton(block, () => block.querySelector("code").textContent, "Copy these lines");
    }
    for (const place of document.querySelectorAll("[data-copy]")) {
      addCopyButton(place, () => place.dataset.copy, "Copy the hash");
    }
    const form = document.querySelector("form[data-usage]");
    if (form) setUpUsage(form);
    const filter = document.querySelector("input[data-filter]");
    if (filter) setUpFilter(filter);
  });
})();
