// Asks the API for a document.
export async function read(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${answer.status} from ${url}`);
  return answer.json();
}
