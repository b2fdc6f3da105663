package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

func newList(c *console.Output) *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:   "list SOURCE...",
		Short: "List repositories, tags, digests and sizes",
		Long: `List what "layoutproxy serve" would serve from these sources: repository, tag, digest and size
of the manifest, sorted, discovery tags included. A manifest without a tag has the tag "-". On a
terminal the list is a table with short digests; in a pipe its columns are separated by tabs.

Problems go to standard error. The exit status is 3 if content is missing, damaged or
not read, or if the sources contain no repository. A conflict (two contents for one tag) does
not change the exit status.`,
		Example: `  layoutproxy list /media/bundle
  layoutproxy list /media/bundle/platform.tar --output json`,
		Args: someSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			return list(cmd.Context(), c, &flags, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&flags.wide, "wide", false, "print complete digests and sizes in bytes, even on a terminal")
	return cmd
}

type listFlags struct {
	settings.Tree
	wide bool
}

// listed is one line of the list: a tag, or a manifest without a tag.
type listed struct {
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
	layoutstore.Descriptor
}

func list(ctx context.Context, c *console.Output, flags *listFlags, sources []string, stdout, stderr io.Writer) error {
	tree, err := source.Open(ctx, flags.Options(sources))
	if err != nil {
		return err
	}
	snapshot, err := source.Check(ctx, tree)
	if err != nil {
		return err
	}
	all, err := listAll(ctx, snapshot)
	if err != nil {
		return err
	}
	if err := c.Print(stdout, all, func(w io.Writer) error {
		if console.IsTerminal(w) {
			return printTable(w, all, flags.wide)
		}
		return printList(w, all)
	}); err != nil {
		return err
	}
	saved := tree.SaveCaches(ctx) // an error of --s3-write-index must not hide the problems
	problems, err := snapshot.Problems(ctx)
	if err != nil {
		return err
	}
	if snapshot.RepositoryCount() == 0 && len(problems) == 0 {
		return errNoRepositories()
	}
	for _, p := range problems {
		console.PrintLine(stderr, p)
	}
	problems = slices.DeleteFunc(problems, func(p layoutstore.Problem) bool { return !p.IsFailure() })
	if len(problems) > 0 {
		return errors.Join(exit.ProblemsError(len(problems)), saved)
	}
	return saved
}

func errNoRepositories() error {
	return exit.ContentError(exit.WithHint(errors.New("no repositories in the sources"), "check that the disk is mounted, and that there is a layout (a directory with index.json) or an archive"))
}

// untagged is printed for a manifest without a tag, in place of the tag.
const untagged = "-"

// listAll returns the tags and the untagged manifests of all repositories. The list is sorted by
// repository, tag and digest.
func listAll(ctx context.Context, s *layoutstore.Snapshot) ([]listed, error) {
	all := make([]listed, 0, s.TagCount())
	names, _ := s.Repositories("", -1)
	for _, name := range names {
		repo, err := s.Repository(name)
		if err != nil {
			return nil, err
		}
		nameless, err := repo.Untagged(ctx)
		if err != nil {
			return nil, err
		}
		for _, desc := range nameless {
			all = append(all, listed{name, untagged, desc})
		}
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			desc, err := repo.Tag(ctx, tag)
			if err != nil {
				return nil, err
			}
			all = append(all, listed{name, tag, desc})
		}
	}
	return all, nil
}

func printList(w io.Writer, all []listed) error {
	b := bufio.NewWriter(w)
	for _, l := range all {
		fmt.Fprintf(b, "%s\t%s\t%s\t%d\n", l.Repository, l.Tag, l.Digest, l.Size)
	}
	return b.Flush()
}

// shortDigest is the number of characters of a digest that the table shows.
const shortDigest = len("sha256:") + 12

// printTable prints the list as a table. If wide is true, digests are complete and sizes exact.
func printTable(w io.Writer, all []listed, wide bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REPOSITORY\tTAG\tDIGEST\tSIZE")
	for _, l := range all {
		digest, size := l.Digest.String(), fmt.Sprint(l.Size)
		if !wide {
			digest, size = digest[:min(len(digest), shortDigest)], console.Bytes(l.Size)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Repository, l.Tag, digest, size)
	}
	return t.Flush()
}

// someSource returns an error if the command line names no source.
func someSource(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return exit.WithHint(layoutstore.ErrNoSource, "name the directory of the bundle: "+cmd.CommandPath()+" /media/bundle")
	}
	return nil
}
