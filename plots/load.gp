# load.gp - how many pairs each expert of each block got, over the mean of its block.
#
# Given: run (a run's folder); the terminal is set, standard output is the figure. Reads experts.csv, columns
# 1 layer, 2 expert, 3 rank, 4 pairs. The palette's lightness falls with the load, so greyscale keeps
# the order. Dotted lines part the ranks.

set datafile separator ","
csv = run . "/experts.csv"

stats csv using 4 skip 1 nooutput
mean = STATS_mean
highest = STATS_max / mean
stats csv using 2 skip 1 nooutput
experts = STATS_max + 1
stats csv using 1 skip 1 nooutput
top = STATS_min
bottom = STATS_max
stats csv using 3 skip 1 nooutput
ranks = STATS_max + 1

set palette defined (0 "#ffffff", 1 "#c6dbef", 2 "#6baed6", 4 "#2171b5", 8 "#08306b")
set cbrange [0:(highest < 4 ? 4 : highest)]
set cblabel "load / mean" offset -1
set colorbox user origin 0.88, 0.2 size 0.025, 0.68
set cbtics scale 0.4 offset -0.6, 0
set rmargin at screen 0.86
set xlabel "expert" offset 0, 0.4
set ylabel "block" offset 0.8
set xrange [-0.5:experts - 0.5]
set yrange [bottom + 0.5:top - 0.5]
set xtics out nomirror scale 0.5 offset 0, 0.3
set ytics out nomirror scale 0.5 (top, bottom)
set for [b = top:bottom:(bottom - top > 20 ? 5 : bottom - top > 9 ? 2 : 1)] ytics add (sprintf("%d", b) b)
set border lw 0.7
unset key

per_rank = experts / ranks
if (ranks > 1 && ranks <= 64) {
    do for [r = 1:ranks - 1] {
        set arrow from r * per_rank - 0.5, top - 0.5 to r * per_rank - 0.5, bottom + 0.5 nohead front \
            lt 1 lw 0.5 dt 3 lc rgb "#606060"
    }
}
plot csv using 2:1:($4 / mean) skip 1 with image
