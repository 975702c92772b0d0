// The token of the page's forms, when the page has outlived the visit that it belongs to.

export async function renewToken() {
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[name=csrf_token]")?.value;
  if (!fresh) return;
  for (const field of document.querySelectorAll("[name=csrf_token]")) field.value = fresh;
}
