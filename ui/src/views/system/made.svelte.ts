/** A token that was just made, until the person has closed it: logging in with the first one draws the page anew. */
let token = $state("");

export const made = {
  get token(): string {
    return token;
  },
  set token(text: string) {
    token = text;
  },
};
