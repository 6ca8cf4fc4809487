#!/bin/sh
# Processes a row for the tests of the page: rejects it when it does not fit, saying why.
[ "$1" = yes ] && exit 0
echo "$2" >&2
exit 65
