// An HTTP server of node: asked to stop it works on for 0.8 s, and writes that it has.
const fs = require('fs');
fs.writeFileSync('asked', '');
const server = require('http').createServer((_, answer) => answer.end('hello\n'));
process.on('SIGTERM', () => {
  fs.appendFileSync('asked', 't');
  server.close();
  setTimeout(() => { fs.writeFileSync('saved', ''); process.exit(0); }, 800);
});
server.listen('http.sock', () => fs.writeFileSync('ready', ''));
