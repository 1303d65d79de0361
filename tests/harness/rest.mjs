// REST calls of one user.

export class Rest {
  constructor(url, token) {
    this.url = url;
    this.token = token;
  }

  async call(method, path, { body, headers = {}, ...options } = {}) {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
        ...(body === undefined || typeof body === 'string' ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
      ...options,
    });
    const text = await response.text();
    let parsed;
    try {
      parsed = JSON.parse(text);
    } catch {
      parsed = undefined;
    }
    return { status: response.status, headers: response.headers, body: parsed, text };
  }

  get(path, options) {
    return this.call('GET', path, options);
  }

  post(path, body, options) {
    return this.call('POST', path, { body, ...options });
  }

  /** All entries of a list, page by page. */
  async pages(path, limit = 200) {
    const entries = [];
    let cursor = null;
    do {
      const query = new URLSearchParams({ limit, ...(cursor === null ? {} : { cursor }) });
      const { status, body } = await this.get(`${path}?${query}`);
      if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`);
      entries.push(body.data);
      cursor = body.nextCursor;
    } while (cursor !== null);
    return entries;
  }

  /** All messages of a conversation, oldest first. */
  async history(conversationId) {
    const pages = await this.pages(`/app/conversations/${encodeURIComponent(conversationId)}/messages`);
    return pages.reverse().flat();
  }

  /** All messages of the caller's stream. */
  async stream() {
    return (await this.pages('/app/stream')).flat();
  }
}
