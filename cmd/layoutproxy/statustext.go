package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/daemon"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// statusError returns an error if s contains problems for which list exits with 3, otherwise nil.
func statusError(s *daemon.Status) error {
	n := 0
	for _, p := range s.Problems {
		if p.IsFailure() {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return exit.ProblemsError(n)
}

func printStatus(w io.Writer, s *daemon.Status, host string) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s: generation %d, %s, %s", host, s.Generation,
		english.Plural(s.Repositories, "repository", ""), english.Plural(s.Tags, "tag", ""))
	if roots := slices.DeleteFunc(slices.Clone(s.Roots), func(r string) bool { return r == "" }); len(roots) > 0 {
		fmt.Fprintf(b, " below %s", strings.Join(roots, ", "))
	}
	fmt.Fprintln(b)
	printSources(b, s.Sources)
	printProblems(b, s.Problems)
	printJobs(b, "Imports", s.Imports)
	printJobs(b, "Pushes", s.Pushes)
	printPrunes(b, s.Prunes)
	if !s.Checked {
		fmt.Fprintln(b, "\nThe check of the sources is still running: there may be more problems.")
	}
	return b.Flush()
}

func printSources(w io.Writer, sources []layoutstore.SourceStatus) {
	fmt.Fprintln(w, "\nSources:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range sources {
		inside := func(other layoutstore.SourceStatus) bool { return strings.HasPrefix(other.Path, s.Path+"/") }
		if s.State == "ready" && s.Repositories == 0 && slices.ContainsFunc(sources, inside) {
			continue // This directory contains only archives, and each of them has its own line.
		}
		row := []string{"  " + s.State, problem.OneLine(s.Path), english.Plural(s.Repositories, "repository", "")}
		if s.Detail != "" { // an empty cell would make tabwriter pad the cell before it
			row = append(row, problem.OneLine(s.Detail))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	t.Flush()
}

func printProblems(w io.Writer, problems []layoutstore.Problem) {
	if len(problems) == 0 {
		fmt.Fprintln(w, "\nNo problems.")
		return
	}
	fmt.Fprintln(w, "\nProblems:")
	for _, c := range problem.Causes(problems) {
		fmt.Fprintf(w, "  %s", c)
		if c.Count > 1 {
			fmt.Fprintf(w, " (%d times)", c.Count)
		}
		fmt.Fprintln(w)
		if len(c.Names) > 0 {
			names := make([]string, len(c.Names))
			for i, name := range c.Names {
				names[i] = problem.OneLine(name)
			}
			fmt.Fprintf(w, "    affects %s", strings.Join(names, ", "))
			if c.More > 0 {
				fmt.Fprintf(w, " and %d more", c.More)
			}
			fmt.Fprintln(w)
		}
	}
}

// printJobs prints the imports or pushes. Without any, it prints nothing.
func printJobs(w io.Writer, title string, jobs []drop.Status) {
	if len(jobs) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, i := range jobs {
		fmt.Fprintf(w, "  %s  %s", i.State, problem.OneLine(i.Name))
		if i.Total > 0 {
			fmt.Fprintf(w, "  %s of %s", console.Bytes(i.Bytes), console.Bytes(i.Total))
		}
		if i.Rate > 0 {
			left := time.Duration(float64(i.Total-i.Bytes) / float64(i.Rate) * float64(time.Second))
			fmt.Fprintf(w, ", %s/s, %s left", console.Bytes(i.Rate), max(0, left).Round(time.Second))
		}
		if i.Generation > 0 {
			fmt.Fprintf(w, "  generation %d of the store", i.Generation)
		}
		if i.Detail != "" {
			fmt.Fprintf(w, "  %s", problem.OneLine(i.Detail))
		}
		fmt.Fprintln(w)
	}
}

// printPrunes prints the last prunes of the store. The latest one comes last.
func printPrunes(w io.Writer, prunes []daemon.PruneStatus) {
	if len(prunes) > 0 {
		fmt.Fprintln(w, "\nPrunes:")
	}
	for _, p := range prunes {
		fmt.Fprintf(w, "  %s  %s", p.State, p.Time.UTC().Format("2006-01-02 15:04 UTC"))
		if p.Tags+p.Manifests+p.Blobs > 0 {
			fmt.Fprintf(w, "  %s, %s, %s, %s  generation %d of the store", english.Plural(p.Tags, "tag", ""), english.Plural(p.Manifests, "manifest", ""),
				english.Plural(p.Blobs, "blob", ""), console.Bytes(p.Bytes), p.Generation)
		}
		if p.Detail != "" {
			fmt.Fprintf(w, "  %s", problem.OneLine(p.Detail))
		}
		fmt.Fprintln(w)
	}
}
