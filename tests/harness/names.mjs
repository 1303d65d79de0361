// Ids that no other test uses, so that tests can share a server.

let last = 0;

const suffix = () => `${process.pid.toString(36)}-${(last += 1)}`;

export const user = (name = 'user') => `${name}.${suffix()}`;
export const conversation = (name = 'conv') => `${name}_${suffix()}`;
export const key = () => `key ${suffix()}`;
