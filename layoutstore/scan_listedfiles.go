package layoutstore

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// CheckInventory compares the names and sizes of the files in the directory of a bundle with its
// inventory. If archive is not empty, it checks only this archive. If the inventory is missing or
// cannot be parsed, it returns no problems. The errors are those of [ReadInventory].
func CheckInventory(dir, archive string) ([]Problem, error) {
	data, _, err := ReadInventory(dir)
	if err != nil || data == nil {
		return nil, err
	}
	listed, err := inventory.Parse(data)
	if err != nil {
		return nil, nil // a scan reports the invalid inventory
	}
	present, err := presentFiles(dir, listed, nil)
	switch {
	case err != nil:
		return nil, err
	case archive != "":
		return listed.CheckArchive(dir, archive, present), nil
	}
	return listed.CheckFiles(dir, present), nil
}

// presentFiles returns the files in dir, sorted by name: archives, chunks, the indexes of the
// unpacked layouts, and other files that the inventory lists.
func presentFiles(dir string, listed *inventory.Inventory, loose []*indexedLayout) (all []inventory.File, err error) {
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	sizes := map[string]int64{}
	for _, l := range loose {
		sizes[path.Join(l.path, "index.json")] = l.indexFile.Size()
	}
	add := func(name string) {
		if info, err := files.Stat(name); err == nil && info.Mode().IsRegular() {
			sizes[name] = info.Size()
		}
	}
	for _, name := range files.Names() {
		if _, ok := volume.IsArchive(name); ok && !strings.HasPrefix(name, ".") {
			add(name)
		}
	}
	for _, f := range listed.Files {
		if _, ok := sizes[f.Name]; !ok {
			add(f.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		all = append(all, inventory.File{Name: name, Size: sizes[name]})
	}
	return all, nil
}

// presentObjects is like presentFiles, but for the objects of a source in a bucket.
func presentObjects(objects *volume.Objects, loose []*indexedLayout) (all []inventory.File) {
	for key, o := range objects.Files() {
		if !strings.Contains("/"+key, "/.") { // sources skip hidden files, so inventories never list them
			all = append(all, inventory.File{Name: key, Size: o.Size})
		}
	}
	for _, l := range loose {
		all = append(all, inventory.File{Name: path.Join(l.path, "index.json"), Size: l.indexFile.Size()})
	}
	slices.SortFunc(all, func(a, b inventory.File) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// missingTags returns a problem for each tag in the inventory that is missing in the source, or
// that leads to a different manifest in the source.
func missingTags(listed *inventory.Inventory, st *sourceState, dir string) (problems []Problem) {
	type tagKey struct{ path, tag string }
	have := map[tagKey]*entry{}
	at := map[string]*indexedLayout{} // last layout with each path
	for _, h := range st.volumes() {
		for _, l := range h.layouts {
			at[l.path] = l
			for i := range l.index.entries {
				if e := &l.index.entries[i]; e.tag != "" {
					have[tagKey{l.path, e.tag}] = e
				}
			}
		}
	}
	for _, r := range listed.Repositories {
		for _, t := range r.Tags {
			e := have[tagKey{r.Path, t.Name}]
			p := Problem{Kind: Damaged, Path: dir, Repository: r.Path, Layout: r.Path, Tags: tagList(t.Name), Digest: t.Digest}
			if l := at[r.Path]; l != nil {
				p = l.where().problem(p)
			}
			switch {
			case e == nil:
				p.Reason = inventory.Name + " lists this tag, but no index has it: copy the bundle again"
			case e.digest() != t.Digest:
				p.Reason = fmt.Sprintf("the tag leads to %s, but %s lists %s: copy the bundle again", e.digest(), inventory.Name, t.Digest)
			default:
				continue
			}
			if problems = appendBounded(problems, p); len(problems) > maxProblems {
				return problems
			}
		}
	}
	return problems
}
