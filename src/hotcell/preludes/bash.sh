# Read before the code, inside the wall, after the variables: notes where the last command failed.
unset BASH_ENV
trap 'hotcell_status=$?; [ "${BASH_SOURCE[0]}" = "$0" ] && printf "{\"status\": %d, \"line\": %d}" "$hotcell_status" "$LINENO" >"$HOTCELL_ERROR"' ERR
