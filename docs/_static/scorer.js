/* The order of search results: first pages with the words of the query in their titles, the
   shorter title first; then other pages; then the reference. */
var Scorer = (() => {
  const words = (text) => text.toLowerCase().match(/\p{L}+/gu) || [];
  const query = words(new URLSearchParams(window.location.search).get("q") || "");
  return {
    score: ([page, title, anchor, , score]) => {
      if (page.startsWith("api/")) return score - 15;
      const inTitle = words(title.split(" > ")[0]);
      const found = query.every((word) => inTitle.some((other) => other.startsWith(word)));
      return score + (found ? 100 + 100 / inTitle.length : 0) - (anchor ? 1 : 0);
    },
    /* Sphinx's own numbers. */
    objNameMatch: 11,
    objPartialMatch: 6,
    objPrio: { 0: 15, 1: 5, 2: -5 },
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
  };
})();
