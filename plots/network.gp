# network.gp - what simulating one all-to-all costs, by GPUs and sharing, both axes logarithmic.
#
# Given: csv (of tests/bench/network); the terminal and the output are set. Columns 1 case, 2 GPUs,
# 3 messages, 4 sharing, 5 CPU s, 6 MiB, 7 simulated s.

set datafile separator ","
set datafile missing NaN # other cases in between
set logscale xy
set xlabel "GPUs"
set ylabel "CPU time (s)"
set key top left
set grid ytics lc rgb "#dddddd"
set xrange [12:2800]
set xtics (16, 32, 64, 128, 256, 512, 1024, 2048)
set format y "10^{%T}"
pick(case, sharing) = strcol(1) eq case && strcol(4) eq sharing ? column(5) : NaN

plot csv using 2:(pick("direct", "simgrid")) skip 1 with linespoints lc rgb "#d95f02" pt 4 dt 2 title "direct, SimGrid", \
    csv using 2:(pick("rails", "simgrid")) skip 1 with linespoints lc rgb "#7570b3" pt 8 dt 2 title "rails, SimGrid", \
    csv using 2:(pick("direct", "fast")) skip 1 with linespoints lc rgb "#d95f02" pt 5 title "direct, fast", \
    csv using 2:(pick("rails", "fast")) skip 1 with linespoints lc rgb "#7570b3" pt 9 title "rails, fast"
