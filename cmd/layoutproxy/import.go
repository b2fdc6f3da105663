package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/overlap"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

func newImport(c *console.Output) *cobra.Command {
	var o importer.Options
	var mustBeReady bool
	var key settings.VerifyKey
	var s3 settings.S3
	cmd := &cobra.Command{
		Use:   "import BUNDLE... --store DIR|s3://BUCKET/PREFIX",
		Short: "Verify bundles and publish them into a store",
		Long: `Import bundles into the store at DIR. An import is atomic: it verifies all bundles and publishes
them together, or changes nothing. A BUNDLE is whatever serve accepts as a source. If two
bundles have the same tag, the later argument wins. Tags of the bundles replace those of the store.

Every blob is verified while it is copied. A damaged or incomplete bundle is refused with exit
status 3. A running server of the store serves the old state until the new state is complete,
even if the import is killed. An interrupted import exits with status 130; the next import
resumes it.

Any number of servers can serve a store in a bucket (--store s3://BUCKET/PREFIX). If two imports
into the same store in a bucket run at the same time, one of them fails with exit status 1 and
publishes nothing. Run the failed import again: it reuses what it has uploaded.`,
		Example: `  layoutproxy import /media/bundle --store /srv/store
  layoutproxy import /media/bundle --store /srv/store --verify-key public.pem
  layoutproxy import /media/bundle/module-console.tar --store /srv/store --keep-packed
  layoutproxy import /media/bundle --store s3://bundles/store --s3-endpoint https://s3.example.com`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Log = c.Log
			if o.VerifyKey, err = key.Read(); err != nil {
				return err
			}
			o.Buckets = s3.Writers()
			return importBundles(cmd.Context(), c, o, s3, mustBeReady, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Store, "store", "", "`directory` of the store, or s3://BUCKET/PREFIX; it is created if missing")
	f.BoolVar(&o.AllowIncomplete, "allow-incomplete", false, "publish the intact part of an incomplete bundle, and exit with 3")
	f.BoolVar(&mustBeReady, "require-ready", false, "import only if every platform version in the bundles is ready, counting the images in the bundles and in the store; otherwise exit with 3")
	f.BoolVar(&o.KeepPacked, "keep-packed", false, "move the archives into the store unchanged, and serve them from there")
	key.AddFlags(f, "import")
	s3.AddFlags(f)
	settings.AddCacheFlag(f, &o.CacheDir)
	return cmd
}

func importBundles(ctx context.Context, c *console.Output, o importer.Options, s3 settings.S3, mustBeReady bool, bundles []string, stdout, stderr io.Writer) error {
	ctx, stop := exit.OnSignal(ctx)
	defer stop()
	p := console.NewProgress(c.Log, c.Console, "importing")
	defer p.Stop()
	o.Progress = p
	i, err := importer.New(o)
	if err != nil {
		return exit.ImportError(err)
	}
	places := []overlap.Place{{Role: overlap.Store, Path: o.Store}}
	for _, name := range bundles {
		places = append(places, overlap.Place{Role: overlap.Bundle, Path: name})
	}
	if err := overlap.Check(places...); err != nil {
		return err
	}
	if mustBeReady {
		if err := checkReadyWith(ctx, stderr, o, s3, bundles); err != nil {
			return err
		}
	}
	sweep(ctx, c, prune.Options{Store: o.Store, CacheDir: o.CacheDir, Buckets: o.Buckets})
	report, err := i.Import(ctx, bundles...)
	p.Stop()
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return exit.InterruptedError(errors.New("interrupted: to resume, run the same import again"))
		}
		return exit.ImportError(err)
	}
	if err := c.Print(stdout, report, func(w io.Writer) error { return printReport(w, report) }); err != nil {
		return err
	}
	for _, p := range report.Problems {
		console.PrintLine(stderr, p)
	}
	for _, p := range report.NonDistributable {
		console.PrintLine(stderr, fmt.Sprint("left out, because it is not distributable: ", p))
	}
	if n := len(report.Problems); n > 0 {
		return exit.ContentError(fmt.Errorf("%s in the bundle: the affected content was not published", english.Plural(n, "problem", "")))
	}
	return nil
}

// checkReadyWith returns an error unless every platform version in the bundles is ready. Images may
// be in the bundles or in the store.
func checkReadyWith(ctx context.Context, stderr io.Writer, o importer.Options, s3 settings.S3, bundles []string) error {
	var beside []string
	is, err := isStore(ctx, o)
	if err != nil {
		return err
	}
	if is {
		beside = []string{o.Store}
	}
	// Opening the sources checks the signature, before any blob is read.
	if _, err := source.Open(ctx, (&settings.Tree{CacheDir: o.CacheDir, VerifyKey: o.VerifyKey, S3: s3}).Options(bundles)); err != nil {
		return err
	}
	// With --allow-incomplete, an import leaves out blobs with a wrong digest, and unsigned content. Otherwise it
	// refuses them.
	tree := settings.Tree{CacheDir: o.CacheDir, S3: s3}
	if o.AllowIncomplete {
		tree.VerifyKey = o.VerifyKey
	}
	err = requireReady(ctx, stderr, tree, o.AllowIncomplete, bundles, beside...)
	if err != nil && ctx.Err() != nil {
		return exit.InterruptedError(errors.New("interrupted before anything was imported"))
	}
	return err
}

func isStore(ctx context.Context, o importer.Options) (bool, error) {
	if !bucket.IsPlace(o.Store) {
		_, err := os.Stat(o.Store)
		return err == nil, nil
	}
	at, err := settings.ParsePlace(o.Store)
	if err != nil {
		return false, err
	}
	_, err = journal.ReadPointer(ctx, o.Buckets(at))
	if errors.Is(err, journal.ErrNotStore) {
		return false, nil
	}
	return err == nil, exit.ImportError(err)
}

func printReport(w io.Writer, r importer.Report) error {
	if !r.Changed {
		what, repaired := "everything", ""
		if len(r.Problems) > 0 {
			what = "everything that is complete"
		}
		if n := r.Blobs.Repaired; n > 0 { // in a bucket, a repair makes no generation
			repaired = fmt.Sprintf(", %s repaired", english.Plural(n, "blob", ""))
		}
		_, err := fmt.Fprintf(w, "nothing new: %s is already in %s, generation %d (%d tags, %s verified%s)\n",
			what, r.Store, r.Generation, r.Tags.Same, console.Bytes(r.Blobs.Bytes), repaired)
		return err
	}
	for _, name := range r.Packed {
		if _, err := fmt.Fprintf(w, "archive: %s\n", name); err != nil {
			return err
		}
	}
	for _, copied := range r.Copied {
		if _, err := fmt.Fprintf(w, "copied instead of moved, so the original remains: %s: %s\n", copied.File, copied.Reason); err != nil {
			return err
		}
	}
	repaired := ""
	if n := r.Blobs.Repaired; n > 0 {
		repaired = fmt.Sprintf(", %d repaired", n)
	}
	_, err := fmt.Fprintf(w, `published in %s as generation %d
repositories: %d
tags: %d new, %d replaced, %d unchanged
blobs: %d written, %d linked, %d already in the store%s; %s verified
`, r.Store, r.Generation, r.Repositories, r.Tags.New, r.Tags.Replaced, r.Tags.Same,
		r.Blobs.Written, r.Blobs.Linked, r.Blobs.Present, repaired, console.Bytes(r.Blobs.Bytes))
	return err
}
