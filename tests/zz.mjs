import WebSocket from 'ws';
const [url, token] = process.argv.slice(2);
const ws = new WebSocket(url.replace('http','ws') + '/socket.io/?EIO=4&transport=websocket');
ws.on('message', (m) => { m = String(m); console.log(Date.now()%100000, m.slice(0,200), m.length);
  if (m[0]==='0') ws.send('40' + JSON.stringify({token}));
  if (m === '2') ws.send('3');
  if (m.startsWith('40')) {
    const send = (padding) => `42["message:send",{"conversationId":"conv","targetUserId":"x","content":"y","padding":"${padding}"}]`;
    for (const n of process.argv.slice(4)) { const s = send('p'.repeat(Number(n)-send('').length)); console.log('send', s.length); ws.send(s); }
  }
});
ws.on('close', (c) => console.log('closed', c));
setTimeout(() => process.exit(0), 3000);
