<?php
// For `php -S`.
$path = $_SERVER['REQUEST_URI'];
[, $kind, $ms] = explode('/', $path);
$done = "$path done\n";
header('Content-Type: text/plain');
if ($kind === 'stream') {
    for ($piece = 1; $piece <= intdiv((int) $ms, 250); $piece++) {
        usleep(250000);
        echo "piece $piece\n";
        flush();
    }
} else {
    usleep((int) $ms * 1000);
    header('Content-Length: ' . strlen($done));
}
echo $done;
