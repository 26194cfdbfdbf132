# links.gp - how full every link is over the run: one bar per link, in the order of the file, kinds side by side.
#
# Given: run (a run's folder); the terminal is set, standard output is the figure. Reads links.csv, columns 1 link,
# 2 fabric, 4 bytes, 5 busy_share, 6 kind. Fills differ in lightness.

set datafile separator ","
csv = run . "/links.csv"

kinds = ""
stats csv using (kinds = strstrt(kinds, '"' . strcol(6) . '"') ? kinds : kinds . ' "' . strcol(6) . '"', $5 * 100) \
    skip 1 nooutput
most = STATS_max
links = STATS_records
n = words(kinds)
array color[6] = ["#08306b", "#e6550d", "#6baed6", "#525252", "#fdd0a2", "#969696"]

# Place of the next link of a kind: behind all of the kinds before it.
array begin[n + 1]
begin[1] = 0
do for [k = 1:n] {
    stats csv using (strcol(6) eq word(kinds, k) ? 1 : 0) skip 1 nooutput
    begin[k + 1] = begin[k] + STATS_sum
}

set boxwidth 1
set style fill solid 1.0 border lt -1
if (links > 200) { set style fill solid 1.0 noborder }
set border 3 lw 0.7
set bmargin 2
set xlabel "link"
set ylabel "full for (% of the run)" offset 0.8
set xrange [-1:links]
set yrange [0:(most > 0 ? most * 1.05 : 1)]
unset xtics
set ytics out nomirror scale 0.5
set grid ytics lt 1 lw 0.4 lc rgb "#d0d0d0"
set key outside top center horizontal Left reverse samplen 1.5 width 1 spacing 1.1
place = 0
plot for [k = 1:n] place = begin[k] csv \
    using (strcol(6) eq word(kinds, k) ? (place = place + 1, place - 1) : NaN):($5 * 100) skip 1 \
    with boxes fc rgb color[(k - 1) % 6 + 1] title word(kinds, k)
