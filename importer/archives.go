package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// ErrNotPacked says that a bundle cannot be kept packed: a part of it is no archive.
var ErrNotPacked = errors.New("not an archive, so it cannot be kept packed")

// parcel is an archive on its way into the store as it is.
type parcel struct {
	set   volume.Set
	dir   string   // that its files lie in
	files []string // it, or its chunks
	name  string   // NAME.tar in the store
	there bool     // the store has it already

	copied []Copied // files that were not linked
}

// takePacked makes the archives of a bundle part of the store without unpacking them:
// every digest is proven, then they are linked into staging, and published. Tags that
// they carry with other digests leave the loose indexes.
func (s *session) takePacked(ctx context.Context, b *bundle) (Report, error) {
	parcels, err := s.parcels(ctx, b)
	if err != nil {
		return Report{}, err
	}
	left, err := s.leftovers(parcels)
	if err != nil {
		return Report{}, err
	}
	if len(left) > 0 {
		s.finishMoves(ctx, true)
		dep, err := s.recordMoves(left, s.store.State().Generation)
		if err != nil {
			return Report{}, err
		}
		s.moved(ctx, dep, true)
		if parcels = slices.DeleteFunc(parcels, func(p *parcel) bool { return slices.Contains(left, p) }); len(parcels) == 0 {
			return Report{Store: s.options.Store, Generation: s.store.State().Generation, Gaps: []layoutstore.Problem{}}, nil
		}
		if err := b.again(ctx); err != nil {
			return Report{}, err
		}
	}
	v, err := s.survey(ctx, b)
	if err != nil {
		return Report{}, err
	}
	if err := v.gaps.err(); err != nil {
		return Report{}, err
	}
	if err := v.findHeld(ctx); err != nil {
		return Report{}, err
	}
	for _, c := range v.contents {
		c.keepPacked()
	}
	if err := s.store.Sweep(nil); err != nil {
		return Report{}, err
	}
	report := Report{Store: s.options.Store, Generation: s.store.State().Generation, Gaps: []layoutstore.Problem{},
		NonDistributable: append([]layoutstore.Problem{}, v.nonDistributable.all...)}
	if report.Blobs, err = v.stageAll(ctx); err != nil {
		return Report{}, err
	}
	j := &journal.Journal{Generation: s.store.State().Generation + 1}
	settled, err := v.settled(parcels)
	if err != nil {
		return Report{}, err
	}
	if j.Indexes, err = v.untagged(&report, settled); err != nil {
		return Report{}, err
	}
	if report.Tags.New+report.Tags.Replaced+report.Blobs.Repaired == 0 && !slices.ContainsFunc(parcels, func(p *parcel) bool { return !p.there }) {
		s.finishMoves(ctx, true)
		dep, err := s.recordMoves(parcels, s.store.State().Generation) // where an import was killed just before
		if err != nil {
			return Report{}, err
		}
		s.moved(ctx, dep, true)
		return report, nil
	}
	for _, p := range parcels {
		if settled {
			break // they stay in their generation; something was repaired
		}
		if err := s.stageParcel(ctx, p); err != nil {
			return Report{}, fmt.Errorf("taking in %s: %w", p.set.Path(), err)
		}
		// One that was put there by hand as well: only a generation makes it win its tags.
		j.Packed = append(j.Packed, journal.Packed{File: p.name, Name: p.set.Name, Generation: j.Generation, There: p.there})
		report.Packed = append(report.Packed, p.name)
		report.Copied = append(report.Copied, p.copied...)
	}
	s.finishMoves(ctx, true)
	dep, err := s.recordMoves(parcels, j.Generation)
	if err != nil {
		return Report{}, err
	}
	if err := s.store.Publish(ctx, j); err != nil {
		return Report{}, err
	}
	report.Generation, report.Changed = s.store.State().Generation, true
	s.moved(ctx, dep, true)
	return report, nil
}

// keepPacked has nothing copied but what the store has wrong in files of its own: they
// would be served before the archive. Wrong copies in other archives are not, as the new
// one comes before them.
func (c *content) keepPacked() {
	c.places = nil
	c.held = slices.DeleteFunc(c.held, func(h *held) bool { return h.relies != "" })
}

// parcels are the archives of a bundle, each with its name in the store.
func (s *session) parcels(ctx context.Context, b *bundle) ([]*parcel, error) {
	var all []*parcel
	archives := map[string]bool{}
	for _, source := range b.names {
		dir, only := source, ""
		if info, err := os.Stat(source); err != nil || !info.IsDir() {
			dir = filepath.Dir(source)
			only, _ = volume.IsArchive(filepath.Base(source))
		}
		found, err := volume.FindArchives(dir)
		if err != nil {
			return nil, err
		}
		if found.Publishing { // its files are still to be moved, and not by us
			return nil, &GapError{[]layoutstore.Problem{{Kind: layoutstore.Incomplete, Path: dir,
				Reason: "a pull into it has not moved its archives into place yet: run the pull again, or import without --keep-packed"}}}
		}
		for _, set := range found.Sets {
			if only != "" && set.Name != only || archives[set.Path()] {
				continue
			}
			archives[set.Path()] = true
			p := &parcel{set: set, dir: dir}
			if err := s.name(ctx, p, all); err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	for _, at := range b.Paths() {
		repo, err := b.At(at)
		if err != nil {
			return nil, err
		}
		for _, l := range repo.Layouts() {
			if !archives[l.Volume()] {
				where, _ := l.Where()
				return nil, fmt.Errorf("%s: %w", where, ErrNotPacked)
			}
		}
	}
	return all, nil
}

// name finds the files of an archive, and the name for it in the store: its own, or
// one with the generation where other bytes have that.
func (s *session) name(ctx context.Context, p *parcel, others []*parcel) error {
	p.files = nil
	for _, f := range p.set.Files() {
		p.files = append(p.files, filepath.Base(f.Path))
	}
	base := strings.TrimSuffix(p.set.Name, ".tar")
	for n := 0; ; n++ {
		switch n {
		case 0:
			p.name = p.set.Name
		case 1:
			p.name = fmt.Sprintf("%s.%d.tar", base, s.store.State().Generation+1)
		default:
			p.name = fmt.Sprintf("%s.%d.%d.tar", base, s.store.State().Generation+1, n)
		}
		if slices.ContainsFunc(others, func(o *parcel) bool { return o.name == p.name }) {
			continue
		}
		taken, same, err := s.compare(ctx, p)
		if err != nil {
			return err
		}
		if p.there = taken && same; same || !taken {
			return s.earlier(ctx, p)
		}
	}
}

// earlier finds the archive under the name that it got in an earlier generation.
func (s *session) earlier(ctx context.Context, p *parcel) error {
	name := p.name
	for _, packed := range s.store.State().Packed {
		if p.there || packed.Name != p.set.Name {
			continue
		}
		p.name = packed.File
		taken, same, err := s.compare(ctx, p)
		if err != nil {
			return err
		}
		p.there = taken && same
	}
	if !p.there {
		p.name = name
	}
	return nil
}

// storeName is the name in the store of one of the archive's files.
func (p *parcel) storeName(file string) string { return p.name + strings.TrimPrefix(file, p.set.Name) }

// compare says whether something has the archive's name in the store, in one file or
// in chunks, and whether that is the same archive.
func (s *session) compare(ctx context.Context, p *parcel) (taken, same bool, err error) {
	have, err := s.filesUnder(p.name)
	if err != nil {
		return false, false, err
	}
	_, err = s.store.Root().Lstat(p.name)
	if len(have) == 0 && errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if len(have) != len(p.files) {
		return true, false, nil
	}
	for _, file := range p.files {
		equal, err := s.equal(ctx, filepath.Join(p.dir, file), p.storeName(file))
		if err != nil || !equal {
			return true, false, err
		}
	}
	return true, true, nil
}

// filesUnder are the files of an archive of the store, without checksums.
func (s *session) filesUnder(archive string) ([]string, error) {
	entries, err := fs.ReadDir(s.store.Root().FS(), ".")
	if err != nil {
		return nil, err
	}
	return withoutSums(filesOf(archive, entries)), nil
}

func withoutSums(files []string) []string {
	return slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, sumSuffix) })
}

// equal says whether a file outside of the store has the bytes of one in it.
func (s *session) equal(ctx context.Context, outside, inside string) (bool, error) {
	a, err := plainfile.Open(outside)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := plainfile.OpenIn(s.store.Root(), inside)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer b.Close()
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	if err != nil || x.Size() != y.Size() || os.SameFile(x, y) {
		return err == nil && os.SameFile(x, y), err
	}
	return equalReaders(ctx, a, b)
}

func equalReaders(ctx context.Context, a, b io.Reader) (bool, error) {
	x, y := make([]byte, bufferSize), make([]byte, bufferSize)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if string(x[:n]) != string(y[:m]) {
			return false, nil
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case err != nil || errB != nil:
			return false, errors.Join(err, errB)
		}
	}
}

// stageParcel links the files of an archive into staging, or copies them: see
// [store.stageFileOf]. They have to be the ones that were proven.
func (s *session) stageParcel(ctx context.Context, p *parcel) error {
	if p.there {
		return nil
	}
	if err := s.store.MkdirAll(publish.StagedPath(".")); err != nil {
		return err
	}
	for _, file := range p.files {
		name := filepath.Join(p.dir, file)
		reason, err := s.stageFileOf(ctx, name, publish.StagedPath(p.storeName(file)))
		if err != nil {
			return err
		}
		if reason != "" {
			p.copied = append(p.copied, Copied{name, reason})
		}
	}
	found, err := volume.FindArchives(p.dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(found.Sets, func(set volume.Set) bool { return set.Name == p.set.Name && set.Written() == p.set.Written() }) {
		return layoutstore.ErrStale
	}
	return nil
}

// linkFrom links a file from outside of the store.
func (s *session) linkFrom(from, to string) error {
	if err := s.store.BeforeChange("link", to); err != nil {
		return err
	}
	return os.Link(from, filepath.Join(s.store.Dir(), to))
}

// copyFrom copies a file from outside of the store, if there is room. Where the file
// system can, the two share their blocks until one of them is written.
func (s *session) copyFrom(ctx context.Context, from, to string) error {
	in, err := plainfile.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := s.store.Create(to)
	if err != nil {
		return err
	}
	if clone(out.File(), in) == nil {
		return out.Close()
	}
	if free, _, err := room(out.File()); err == nil && info.Size() > free {
		out.Discard()
		return &RoomError{s.options.Store, "bytes", info.Size(), free}
	}
	buf := make([]byte, bufferSize)
	for {
		n, err := in.Read(buf)
		if _, werr := out.Write(buf[:n]); werr != nil {
			out.Discard()
			return werr
		}
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			out.Discard()
			return err
		}
	}
}

func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// untagged makes the loose indexes that lose a tag to an archive of the bundle.
func (v *survey) untagged(report *Report, settled bool) (changes []journal.IndexChange, err error) {
	for _, at := range v.bundle.Paths() {
		repo, err := v.bundle.At(at)
		if err != nil {
			return nil, err
		}
		report.Repositories++
		m, err := v.merging(at)
		if err != nil {
			return nil, err
		}
		tags, _ := repo.Tags("", -1)
		for _, tag := range tags {
			d, err := repo.Tag(tag)
			if err != nil {
				return nil, err
			}
			switch old, err := m.union(tag); {
			case err == nil && (old == d.Digest || settled):
				report.Tags.Same++
				continue
			case err == nil:
				report.Tags.Replaced++
			default:
				report.Tags.New++
			}
			m.untag(tag)
		}
		if m.changed {
			change := journal.IndexChange{Path: at, Old: m.old}
			if change.New, err = m.bytes(); err != nil {
				return nil, err
			}
			changes = append(changes, change)
		}
	}
	return changes, nil
}

// sumSuffix is what the name of a checksum has behind that of its file.
const sumSuffix = ".gostsum"

// filesOf are the files of an archive: itself or its chunks, and their checksums.
func filesOf(archive string, entries []fs.DirEntry) (names []string) {
	for _, e := range entries {
		name, ok := volume.IsArchive(strings.TrimSuffix(e.Name(), sumSuffix))
		if ok && name == archive && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}
