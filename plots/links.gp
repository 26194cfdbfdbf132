# links.gp - how full every link is over the run: one bar per link that carries anything, kinds side by side, each in
# the order of the file; the three busiest are named.
#
# Given: run (a run's folder); the terminal is set, standard output is the figure. Reads links.csv, columns 1 link,
# 2 fabric, 4 bytes, 5 busy_share, 6 kind. Fills differ in lightness.

set datafile separator ","
csv = run . "/links.csv"

kinds = ""
stats csv using (kinds = $4 > 0 && !strstrt(kinds, '"' . strcol(6) . '"') ? kinds . ' "' . strcol(6) . '"' : kinds, \
    $4 > 0 ? 1 : 0) skip 1 nooutput
links = int(STATS_sum)
idle = int(STATS_records) - links
n = words(kinds)
array color[6] = ["#08306b", "#e6550d", "#6baed6", "#525252", "#fdd0a2", "#969696"]
of(name) = sum [i = 1:n] (word(kinds, i) eq name ? i : 0)

# Place of the next link of a kind: behind all of the kinds before it.
array begin[n + 1]
begin[1] = 0
do for [k = 1:n] {
    stats csv using ($4 > 0 && strcol(6) eq word(kinds, k) ? 1 : 0) skip 1 nooutput
    begin[k + 1] = begin[k] + int(STATS_sum)
}

# The busiest links, one after the other: each the first with the largest share behind those before it.
named = links < 3 ? links : 3
array name[3]
array full[3]
array at[named > 0 ? named : 1]
array next[n + 1]
taken = "\n"
do for [i = 1:named] {
    do for [k = 1:n] { next[k] = begin[k] - 1 }
    full[i] = -1
    stats csv using ($4 > 0 ? (k = of(strcol(6)), next[k] = next[k] + 1, \
        $5 > full[i] && !strstrt(taken, "\n" . strcol(1) . "\n") ? \
        (full[i] = $5, name[i] = strcol(1), at[i] = next[k]) : 0) : 0, 0) skip 1 nooutput
    taken = taken . name[i] . "\n"
}
most = named > 0 && full[1] > 0 ? full[1] * 100 : 1

set boxwidth 1
set style fill solid 1.0 border lt -1
if (links > 200) { set style fill solid 1.0 noborder }
set border 3 lw 0.7
set bmargin 2
set xlabel sprintf("%d links that carry bytes%s", links, idle > 0 ? sprintf(" (%d more carry none)", idle) : "")
set ylabel "full for (% of the run)" offset 0.8
set xrange [-1:(links > 0 ? links : 1)]
set yrange [0:most * 1.35]
unset xtics
set ytics out nomirror scale 0.5
if (most > 60) { set ytics 0, 20, 100 } # above is room for the names
set grid ytics lt 1 lw 0.4 lc rgb "#d0d0d0"
set key outside top center horizontal Left reverse samplen 1.5 width 1 spacing 1.1
set style textbox opaque fc rgb "#ffffff" noborder margins 0.2, 0.1
# Names stand on the side where there is room, the same for those close to each other; what a name stands over has its
# own below.
low = links
high = 0
do for [i = 1:named] {
    if (at[i] < low) { low = at[i] }
    if (at[i] > high) { high = at[i] }
}
room = 0.35 * links
before(i) = low > room || (high >= links - room && high - at[i] < at[i] - low)
reach(i) = before(i) ? at[i] : links - at[i]
do for [i = 1:named] {
    height = most * 1.29
    do for [j = 1:named] { if (reach(j) > reach(i) || (reach(j) == reach(i) && j < i)) { height = height - most * 0.09 } }
    line = sprintf("%s: %.1f %%", name[i], full[i] * 100)
    set arrow from at[i], height to at[i], full[i] * 100 nohead back lw 0.5 lc rgb "#000000"
    if (before(i)) {
        set label line at at[i], height right noenhanced front boxed offset -0.5, 0
    } else {
        set label line at at[i], height left noenhanced front boxed offset 0.5, 0
    }
}
plot NaN notitle, for [k = 1:n] place = begin[k] csv \
    using ($4 > 0 && strcol(6) eq word(kinds, k) ? (place = place + 1, place - 1) : NaN):($5 * 100) skip 1 \
    with boxes fc rgb color[(k - 1) % 6 + 1] title word(kinds, k)
