package pull

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
)

// Dry plans a pull and writes nothing. Its errors are the same as those of [Run].
func Dry(ctx context.Context, o Options, watch Watch) (*Plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	watch = cmp.Or(watch, Watch(noWatch{}))
	watch.Phase("planning", 0)
	// Reading existing archives saves requests.
	old, err := bundle.OpenReusable(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	return makePlan(ctx, o, newSource(o.Registry, watch, nil, old), newAllowance(&o))
}

// Run pulls a bundle. watch may be nil. If Run returns no error, the bundle in the directory is complete and
// synced. If Run fails before it publishes, it leaves only state from which the next run resumes and, for a
// tree, directories and blobs. If the context ends, Run first completes nearly complete blobs of archives.
// If the bundle is published but the working directory cannot be removed, Run returns a report and an error.
//
// Run fails with ErrUsage, with *IncompleteError if content is missing or damaged, or with
// *client.Error. Other errors come from the planner, the file system and the context.
func Run(ctx context.Context, o Options, watch Watch) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	watch = cmp.Or(watch, Watch(noWatch{}))
	w, err := openWork(o.Dir, o.TempDir, !o.NoResume, time.Now(), o.reached)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	src, allow := newSource(o.Registry, watch, w, nil), newAllowance(&o)
	for {
		r, err := pullOnce(ctx, o, allow, src, watch)
		if err == nil {
			return r.report(), w.finish()
		}
		if !src.noteLost(err, allow) {
			return nil, err
		}
	}
}

// pullOnce plans and pulls everything except content that is known to be incomplete.
func pullOnce(ctx context.Context, o Options, allow *allowance, src *Source, watch Watch) (*run, error) {
	watch.Phase("planning", 0)
	reusable, err := bundle.OpenReusable(ctx, o.Dir, src.work.publisher.Staged())
	if err != nil {
		return nil, err
	}
	src.reopen(reusable)
	plan, err := makePlan(ctx, o, src, allow)
	if err != nil {
		return nil, err
	}
	if err := src.work.publisher.Covers(plan.names(o.Tree)); err != nil {
		return nil, err
	}
	r := &run{options: o, form: o.form(), plan: plan, work: src.work, reusable: reusable, watch: watch, files: map[string][]bundle.File{}}
	return r, r.execute(ctx)
}

type run struct {
	options  Options
	form     bundle.Form
	plan     *Plan
	work     *work
	reusable *bundle.Reusable
	watch    Watch

	// kept and written are the names for Report.Kept and Report.Written.
	kept, written []string
	changes       bundle.Changes
	files         map[string][]bundle.File // files with their checksums, by name of the archive
}

func (r *run) execute(ctx context.Context) error {
	if r.options.Tree {
		return r.writeTree(ctx)
	}
	todo, err := r.missingArchives(ctx)
	if err != nil {
		return err
	}
	if err := r.fetchAndPack(ctx, todo); err != nil {
		return err
	}
	if err := r.stageFiles(ctx); err != nil {
		return err
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.work.publisher.Publish(r.changes)
}

// stageFiles stages changed files beside the archives: the planned files and the inventory. It notes which
// outdated files to remove.
func (r *run) stageFiles(ctx context.Context) error {
	for _, f := range r.plan.Files {
		staged, err := r.stageFile(f.Name, f.data)
		if err != nil {
			return err
		}
		if staged {
			r.written = append(r.written, f.Name)
		} else {
			r.kept = append(r.kept, f.Name)
		}
	}
	for _, name := range r.plan.outdated {
		info, err := os.Lstat(filepath.Join(r.options.Dir, name))
		if err == nil && !info.IsDir() || err != nil && r.work.publisher.IsBroken() {
			r.changes.Remove = append(r.changes.Remove, name)
		}
	}
	return r.stageInventory(ctx)
}

func (r *run) stageFile(name string, data []byte) (changed bool, err error) {
	changed, err = r.work.publisher.StageIfNew(name, data)
	if changed {
		r.changes.Place = append(r.changes.Place, name)
	}
	return changed, err
}

func (r *run) missingArchives(ctx context.Context) (todo []*bundle.Archive, err error) {
	var total int64
	for _, dir := range []string{r.options.Dir, r.work.publisher.Staged()} {
		for _, a := range r.plan.Archives {
			if r.present(dir, a).HasFiles() {
				total += a.Size
			}
		}
	}
	if total > 0 {
		r.watch.Phase("reading existing archives", total)
	}
	for _, a := range r.plan.Archives {
		written, err := r.isWritten(ctx, a)
		if err != nil {
			return nil, err
		}
		if !written {
			todo = append(todo, a)
		}
	}
	return todo, nil
}

// isWritten reports whether a planned archive already exists, either in the bundle or in the
// staging of an interrupted pull.
func (r *run) isWritten(ctx context.Context, a *bundle.Archive) (bool, error) {
	inPlace := r.present(r.options.Dir, a)
	same, err := inPlace.IsSame(ctx)
	if err != nil {
		return false, err
	}
	if same && !r.work.publisher.IsBroken() { // verify cannot read a directory with a broken publication
		r.kept = append(r.kept, a.Name)
		r.files[a.Name] = inPlace.Files()
		sums, err := inPlace.WriteSums(r.work.publisher.Staged())
		r.changes.Place = append(r.changes.Place, sums...)
		r.written = append(r.written, sums...)
		return true, err
	}
	if err := r.changes.Replace(r.options.Dir, a, r.form); err != nil {
		return false, err
	}
	for _, f := range r.form.Files(a) {
		r.written = append(r.written, f.Name)
	}
	staged := r.present(r.work.publisher.Staged(), a)
	if same, err = staged.IsSame(ctx); same {
		r.files[a.Name] = staged.Files()
	}
	return same && staged.HasSums(), err
}

func (r *run) present(dir string, a *bundle.Archive) *bundle.Present {
	return a.In(dir, r.form, r.watch.Add)
}

func appendNew(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}
