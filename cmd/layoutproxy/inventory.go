package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/importer/gather"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

type inventoryFlags struct {
	diff, checksums, unsplit bool
	write, cacheDir          string
	sign                     settings.SignKey
	s3                       settings.S3
	upstream                 settings.Upstream
}

func newInventory(c *console.Output) *cobra.Command {
	var flags inventoryFlags
	cmd := &cobra.Command{
		Use:   "inventory SOURCE... | REGISTRY/PATH",
		Short: "List everything in a bundle, a store or a registry, sign the list, or compare two",
		Long: `Print the inventory of the sources or of the registry as JSON: every file with its size, every
repository with its tags, and every blob. The same content always gives the same bytes.
layoutproxy pull writes the same list beside the archives, as bundle.json.

With --sign-key, also write the list to bundle.json in the directory of the source or of --write,
and its signature to bundle.json.sig. A damaged or incomplete source is not signed.

With --diff, compare two inventories. Each argument is the file of an inventory, a source, or a
registry. It does not matter how archives are cut into chunks. The exit status is 3 if the
inventories differ.`,
		Example: `  layoutproxy inventory /media/bundle > bundle.json
  layoutproxy inventory /media/bundle --sign-key private.pem
  layoutproxy inventory --diff /media/bundle/bundle.json registry.example:5000/deckhouse/ee`,
		Args: someSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := exit.OnSignal(cmd.Context())
			defer stop()
			err := flags.run(ctx, c, cmd, args)
			return exit.Ended(ctx, err, errors.New("interrupted before the inventory was complete"))
		},
	}
	flags.flags(cmd.Flags())
	return cmd
}

func (i *inventoryFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&i.diff, "diff", false, "compare two inventories, sources or registries; exit with 3 if they differ")
	f.BoolVar(&i.checksums, "checksums", false, "read each file and list its SHA-256 checksum; --sign-key always does this")
	i.sign.AddFlags(f)
	f.StringVar(&i.write, "write", "", "also write bundle.json to this `directory`")
	settings.AddCacheFlag(f, &i.cacheDir)
	i.s3.AddFlags(f)
	settings.AddEditionFlag(f, &i.unsplit)
	i.upstream.AddFlags(f)
	i.upstream.D8, i.upstream.UserAgent = settings.D8RegistryLogin(), userAgent()
}

func (i *inventoryFlags) run(ctx context.Context, c *console.Output, cmd *cobra.Command, args []string) error {
	key, err := i.sign.Read()
	if err != nil {
		return err
	}
	if i.diff {
		if key != nil || i.write != "" {
			return exit.UsageError(errors.New("--diff cannot be combined with --sign-key or --write"))
		}
		return i.compare(ctx, c, cmd, args)
	}
	dir := i.write
	if key != nil && dir == "" {
		if dir, err = signedDirectory(args); err != nil {
			return err
		}
	}
	i.checksums = i.checksums || key != nil
	listed, problems, err := i.gather(ctx, c, cmd, args, nil)
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	if len(problems) > 0 && dir != "" {
		return exit.ContentError(fmt.Errorf("nothing was written or signed: %w", exit.ProblemsError(len(problems))))
	}
	data, err := i.encode(listed, key, dir)
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(data); err != nil {
		return err
	}
	if len(problems) > 0 {
		return exit.ProblemsError(len(problems))
	}
	return nil
}

// signedDirectory returns the directory of the source, to which the signed inventory is written. It
// returns an error if there are several sources, or if the source is not a directory.
func signedDirectory(args []string) (string, error) {
	info, err := os.Stat(args[0])
	dir, ok := gather.Directory(args)
	if len(args) > 1 || err != nil || !info.IsDir() || !ok {
		return "", exit.UsageError(exit.WithHint(errors.New("--sign-key: the source is not the directory of one bundle, so there is no place for the signed inventory"), "name a directory for the inventory: --write DIR"))
	}
	return dir, nil
}

// encode returns the inventory as JSON. If dir is not "", it also writes the inventory to dir, with a
// signature if key is not nil. Without a key, it removes the old signature from dir.
func (i *inventoryFlags) encode(listed *inventory.Inventory, key *inventory.SigningKey, dir string) (data []byte, err error) {
	var signature []byte
	if key != nil {
		data, signature, err = key.EncodeSigned(listed)
	} else {
		data, err = listed.Encode()
	}
	if err != nil || dir == "" {
		return data, err
	}
	// Remove the old signature first, so that it is never beside an inventory that it does not
	// match.
	old := filepath.Join(dir, inventory.SignatureName)
	if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, inventory.Name), data, 0o644); err != nil {
		return nil, err
	}
	if signature != nil {
		err = durable.WriteFile(old, signature, 0o644)
	}
	return data, err
}

// gather makes the inventory of sources or of a registry. Registries do not list all their content. So gather
// also asks a registry for the repositories and untagged manifests in known, unless known is nil.
func (i *inventoryFlags) gather(ctx context.Context, c *console.Output, cmd *cobra.Command, args []string, known *inventory.Inventory) (*inventory.Inventory, []problem.Problem, error) {
	var b inventory.Builder
	var problems []problem.Problem
	var err error
	to, isRegistry := asRegistry(args[0])
	switch {
	case isRegistry && len(args) > 1:
		return nil, nil, exit.UsageError(fmt.Errorf("%s is not a file or directory, and a registry must be the only argument", args[0]))
	case isRegistry:
		problems, err = i.gatherRegistry(ctx, c, cmd, to, known, &b)
	default:
		problems, err = gather.Sources(ctx, args, gather.Options{CacheDir: i.cacheDir, Checksums: i.checksums, Buckets: i.s3.Buckets()}, &b)
		err = exit.SourceError(err)
	}
	if err != nil {
		return nil, nil, err
	}
	listed, err := b.Build(madeBy())
	if err == nil && listed.CountTags() == 0 && len(listed.Blobs) == 0 && len(problems) == 0 {
		err = exit.ContentError(exit.WithHint(fmt.Errorf("nothing found at %s", args[0]), "check that the disk is mounted, and that there is a layout (a directory with index.json) or an archive"))
	}
	return listed, problems, err
}

func (i *inventoryFlags) gatherRegistry(ctx context.Context, c *console.Output, cmd *cobra.Command, to client.Reference, known *inventory.Inventory, b *inventory.Builder) ([]problem.Problem, error) {
	upstream, err := i.upstream.Open(to, false, cmd.InOrStdin(), c.Log)
	if err != nil {
		return nil, exit.RegistryError(err)
	}
	defer upstream.Close()
	problems, err := gather.Registry(ctx, gather.RegistryOptions{Client: upstream, At: to, Jobs: i.upstream.Jobs, NoEditionSplit: i.unsplit, Known: known}, b)
	if errors.Is(err, gather.ErrNoCatalog) {
		return nil, exit.WithHint(exit.RegistryError(err), "compare the registry with the inventory of a bundle, which names the repositories: layoutproxy inventory --diff BUNDLE "+to.String())
	}
	return problems, exit.RegistryError(err)
}

func (i *inventoryFlags) compare(ctx context.Context, c *console.Output, cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return exit.UsageError(exit.WithHint(fmt.Errorf("--diff needs two arguments, not %d", len(args)), "layoutproxy inventory --diff A B"))
	}
	var sides [2]*inventory.Inventory
	damaged := 0
	for _, registries := range []bool{false, true} { // Sources come first: their inventories list repositories that a registry may not list.
		for n, arg := range args {
			if _, isRegistry := asRegistry(arg); isRegistry != registries {
				continue
			}
			var problems []problem.Problem
			var err error
			if sides[n], problems, err = i.load(ctx, c, cmd, arg, sides[1-n]); err != nil {
				return err
			}
			for _, p := range problems {
				damaged++
				fmt.Fprintln(cmd.ErrOrStderr(), p)
			}
		}
	}
	result := inventory.Compare(sides[0], sides[1])
	if err := c.Print(cmd.OutOrStdout(), result, func(w io.Writer) error { return printComparison(w, result, sides[0]) }); err != nil {
		return err
	}
	switch n := len(result.Differences); {
	case n > 0:
		return exit.ContentError(fmt.Errorf("%s and %s differ in %s", args[0], args[1], english.Plural(n, "place", "")))
	case damaged > 0:
		return exit.ProblemsError(damaged)
	}
	return nil
}

// load reads an inventory from a file, or makes the inventory of a source or registry.
func (i *inventoryFlags) load(ctx context.Context, c *console.Output, cmd *cobra.Command, arg string, known *inventory.Inventory) (*inventory.Inventory, []problem.Problem, error) {
	info, err := os.Stat(arg)
	_, isArchive := volume.IsArchive(filepath.Base(arg))
	if err != nil || !info.Mode().IsRegular() || isArchive {
		return i.gather(ctx, c, cmd, []string{arg}, known)
	}
	listed, err := inventory.ReadFile(arg)
	if errors.Is(err, inventory.ErrFormat) {
		err = exit.ContentError(err)
	}
	return listed, nil, err
}

func printComparison(w io.Writer, c inventory.Comparison, a *inventory.Inventory) error {
	for _, d := range c.Differences {
		if _, err := fmt.Fprintln(w, d); err != nil {
			return err
		}
	}
	if len(c.Differences) > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "no difference: %d tags, %d blobs, %s\n", a.CountTags(), len(a.Blobs), a.Bundle)
	return err
}
