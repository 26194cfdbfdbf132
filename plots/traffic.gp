# traffic.gp - what every GPU sends to every other: one heat map per phase that communicates, all hops over both
# fabrics.
#
# Given: run (a run's folder); the terminal is set, standard output is the figure. Reads pairs.csv, columns 1 phase,
# 2 fabric, 3 from, 4 to, 5 ranks (that each end stands for), 6 bytes. The palette's lightness falls with the
# bytes, so greyscale keeps the order.

set datafile separator ","
csv = run . "/pairs.csv"

phases = ""
stats csv using (phases = strstrt(phases, " " . strcol(1) . " ") ? phases : phases . " " . strcol(1) . " ", $6) \
    skip 1 nooutput
most = STATS_max
stats csv using ($3 > $4 ? $3 : $4) skip 1 nooutput
last = STATS_max
stats csv using 5 skip 1 nooutput
size = STATS_max
unit = most >= 1e9 ? 1e9 : most >= 1e6 ? 1e6 : most >= 1e3 ? 1e3 : 1
name = most >= 1e9 ? "GB" : most >= 1e6 ? "MB" : most >= 1e3 ? "kB" : "B"

set palette defined (0 "#ffffff", 1 "#c6dbef", 2 "#6baed6", 3 "#2171b5", 4 "#08306b")
set cbrange [0:most / unit]
set cblabel (size > 1 ? sprintf("%s between groups of %d GPUs", name, size) : name) offset -0.5
set cbtics scale 0.4 offset -0.6, 0
set xrange [-0.5 * size:last + 0.5 * size]
set yrange [last + 0.5 * size:-0.5 * size]
set xtics out nomirror scale 0.5 offset 0, 0.3
set ytics out nomirror scale 0.5
set border lw 0.7
set style fill solid noborder
unset key
half = 0.5 * size

panels = words(phases)
if (panels > 2) { panels = 2 } # no run has more
set multiplot
width = 0.80 / panels
do for [p = 1:panels] {
    set lmargin at screen 0.09 + (p - 1) * width
    set rmargin at screen 0.09 + p * width - 0.05
    set bmargin at screen 0.16
    set tmargin at screen 0.88
    set title word(phases, p) offset 0, -0.6
    set xlabel "to GPU" offset 0, 0.4
    if (p == 1) { set ylabel "from GPU" offset 0.8 } else { unset ylabel; set format y "" }
    if (p == panels) {
        set colorbox user origin 0.86, 0.16 size 0.025, 0.72
    } else {
        unset colorbox
    }
    plot csv using (strcol(1) eq word(phases, p) ? $4 : NaN):3:($4 - half):($4 + half):($3 - half):($3 + half):($6 / unit) \
        skip 1 with boxxyerror fc palette
}
unset multiplot
