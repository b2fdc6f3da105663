package pull

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Report is what a pull has done.
type Report struct {
	Source     string       `json:"source"`
	Dir        string       `json:"dir"`
	Components []*Component `json:"components"`
	Written    []string     `json:"written"` // files of archives, or layouts of a tree
	Kept       []string     `json:"kept"`    // archives that were there already
	Missing    []Gap        `json:"missing"` // what the source does not have, and the pull did without
	Holes      []Gap        `json:"holes"`   // of a pull that may be incomplete: see [Plan]
	Images     int          `json:"images"`
	Blobs      int          `json:"blobs"`
	Bytes      int64        `json:"bytes"`   // of the blobs
	Fetched    int64        `json:"fetched"` // bytes that came over the wire
	Requests   int64        `json:"requests"`
	Retries    int64        `json:"retries"`
}

// Watch is told how a pull gets on. Its methods may be called from several goroutines.
type Watch interface {
	// Phase says what begins now, and how many bytes it is about; 0 is unknown.
	Phase(name string, total int64)
	Meter
	// Packed says that an archive was written.
	Packed(name string, size int64)
}

type noWatch struct{}

func (noWatch) Phase(string, int64)  {}
func (noWatch) Add(int64)            {}
func (noWatch) Packed(string, int64) {}

// Dry plans a pull and writes nothing. Errors: those of [Run].
func Dry(ctx context.Context, o Options, watch Watch) (*Plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if watch == nil {
		watch = noWatch{}
	}
	watch.Phase("planning", 0)
	// What is there already is read, so that the network is spared.
	old, err := openOlder(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	return newAllowance(&o).plan(ctx, o, newSource(o.Registry, watch, nil, old))
}

// Run pulls. What it reports as done lies in the directory, whole and on disk; where it
// fails, the directory is as it was, but for state of its own that the next run goes on
// from. When the context ends, blobs that are nearly done are ended first.
//
// Errors: ErrUsage; *IncompleteError where content is missing or wrong; *SuspendedError;
// *client.Error; the file system's and the context's.
func Run(ctx context.Context, o Options, watch Watch) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if watch == nil {
		watch = noWatch{}
	}
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
		if !allow.learn(err) {
			return nil, err
		}
	}
}

// pullOnce plans what is complete as far as is known, and pulls it.
func pullOnce(ctx context.Context, o Options, allow *allowance, src *source, watch Watch) (*run, error) {
	watch.Phase("planning", 0)
	old, err := openOlder(ctx, o.Dir, src.work.archives())
	if err != nil {
		return nil, err
	}
	src.reopen(old)
	plan, err := allow.plan(ctx, o, src)
	if err != nil {
		return nil, err
	}
	if err := src.work.covers(plan); err != nil {
		return nil, err
	}
	r := &run{Options: o, plan: plan, work: src.work, older: old, watch: watch, src: src}
	return r, r.all(ctx)
}

// run is one pull, after it was planned.
type run struct {
	Options
	plan  *Plan
	src   *source
	work  *work
	older *older
	watch Watch

	kept, written []string
	publication   publication
}

func (r *run) all(ctx context.Context) error {
	if r.Tree {
		return r.tree(ctx)
	}
	todo, err := r.sort(ctx)
	if err != nil {
		return err
	}
	if err := r.carry(ctx, todo); err != nil {
		return err
	}
	if err := r.besides(); err != nil {
		return err
	}
	if err := r.verify(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.work.publish(r.publication)
}

// besides writes the files that stand beside the archives, where they have changed.
func (r *run) besides() error {
	for _, f := range r.plan.Files {
		have, err := plainfile.Read(filepath.Join(r.Dir, f.Name), int64(len(f.data)))
		if err == nil && bytes.Equal(have, f.data) {
			r.kept = append(r.kept, f.Name)
			continue
		}
		if err := writeFile(filepath.Join(r.work.archives(), f.Name), f.data); err != nil {
			return err
		}
		r.publication.Place = append(r.publication.Place, f.Name)
		r.written = append(r.written, f.Name)
	}
	return nil
}

// sort finds out which archives are there already, and returns the others.
func (r *run) sort(ctx context.Context) (todo []*Archive, err error) {
	var total int64
	for _, dir := range []string{r.Dir, r.work.archives()} {
		for _, a := range r.plan.Archives {
			if r.standing(dir, a).there() {
				total += a.Size
			}
		}
	}
	if total > 0 {
		r.watch.Phase("reading what is there", total)
	}
	for _, a := range r.plan.Archives {
		there, err := r.stays(ctx, a)
		if err != nil {
			return nil, err
		}
		if !there {
			todo = append(todo, a)
		}
	}
	return todo, nil
}

// stays says whether an archive need not be written: it is in its place, or an
// interrupted pull left it where it waits for that.
func (r *run) stays(ctx context.Context, a *Archive) (bool, error) {
	s := r.standing(r.Dir, a)
	same, err := s.same(ctx)
	if err != nil {
		return false, err
	}
	if same && r.work.broken == nil { // else the readers that verify the bundle would not see it
		r.kept = append(r.kept, a.Name)
		return true, r.addSums(s)
	}
	if err := r.replace(a.Name, files(a.Name, a.Size, r.ChunkSize)); err != nil {
		return false, err
	}
	s = r.standing(r.work.archives(), a)
	same, err = s.same(ctx)
	return same && s.hasSums(), err
}

func (r *run) standing(dir string, a *Archive) *standing {
	s := &standing{dir: dir, Archive: a, files: files(a.Name, a.Size, r.ChunkSize), newSum: r.NewSum, meter: r.watch}
	if cut := chunksIn(dir, a.Name, a.Size, r.ChunkSize); cut != nil {
		s.files = cut
	}
	return s
}

// replace notes that an archive takes the place of what the bundle has of it.
func (r *run) replace(archive string, now []file) error {
	var names []string
	for _, f := range now {
		names = append(names, f.Name)
		r.written = append(r.written, f.Name)
		if r.NewSum != nil {
			names = append(names, sumName(f.Name))
		}
	}
	old, err := replaces(r.Dir, archive, names)
	r.publication.Place = append(r.publication.Place, names...)
	r.publication.Remove = append(r.publication.Remove, old...)
	return err
}

func (r *run) report() *Report {
	blobs, bytes := r.plan.Blobs()
	s := r.Registry.Stats()
	return &Report{
		Source: r.plan.Source, Dir: r.Dir, Components: r.plan.Components,
		Written: append([]string{}, r.written...), Kept: append([]string{}, r.kept...),
		Missing: r.plan.Missing, Holes: r.plan.Holes,
		Images: r.plan.Images(), Blobs: blobs, Bytes: bytes,
		Fetched: s.Received, Requests: s.Requests, Retries: s.Retries,
	}
}

// appendNew appends what is not there yet.
func appendNew(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}
