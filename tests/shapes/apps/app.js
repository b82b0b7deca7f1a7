// An HTTP server of node: asked to stop it works on for 0.8 s, and writes that it has. Its files are as those of
// app.py; with the word `numbered` their names end with the number that pm2 gave it.
const fs = require('fs');
const name = process.argv.includes('numbered') ? process.env.NODE_APP_INSTANCE : '';
fs.writeFileSync('asked' + name, '');
const server = require('http').createServer((_, answer) => answer.end('hello\n'));
let stopping = false;
const stop = () => {
  fs.appendFileSync('asked' + name, 't');
  if (stopping) return;
  stopping = true;
  server.close();
  setTimeout(() => { fs.writeFileSync('saved' + name, ''); process.exit(0); }, 800);
};
// pm2 sends INT, and everything else TERM.
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
server.listen('http.sock', () => fs.writeFileSync('ready' + name, ''));
