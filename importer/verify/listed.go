package verify

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// findListed returns the checksums in an inventory. archives has the same meaning as in findIn. If
// an archive was joined, or split into different chunks, each listed file is compared with its range
// of the archive. Missing files are omitted, because the scan reports them.
func (b checksumDir) findListed(archives []string, data []byte) (all []found) {
	listed, err := inventory.Parse(data)
	if err != nil {
		return nil // there is no inventory, or the scan has already reported the problem
	}
	inArchives, others := inventory.Archives(listed.Files)
	for _, a := range inArchives {
		if archives == nil || slices.Contains(archives, a.Name) {
			all = append(all, b.pieces(a)...)
		}
	}
	for _, f := range others {
		where, of := b.locate(f.Name, f.Name)
		if archives == nil && f.SHA256 != "" && where.Size() == f.Size && where != nil {
			all = append(all, b.listed(f, of, "", where))
		}
	}
	return all
}

func (b checksumDir) pieces(a *inventory.Archive) (all []found) {
	joined, _ := b.locate(a.Name, a.Name)
	var off int64
	for _, f := range a.Files {
		if where := b.piece(f, joined, off, a.Size); where != nil && f.SHA256 != "" {
			all = append(all, b.listed(f, f.Name, a.Name, where))
		}
		off += f.Size
	}
	return all
}

// piece returns where the content of an archive's file is stored: in a file with this name and size
// or, if the archive was joined or split into other chunks, at off in joined, which is the whole archive. It
// returns nil if the content is missing. total is the size of the archive.
func (b checksumDir) piece(f inventory.File, joined extent.List, off, total int64) extent.List {
	if file := b.files.find(f.Name); file != nil && file.Size() == f.Size {
		return file
	}
	if joined.Size() != total {
		return nil
	}
	where, err := joined.Slice(off, f.Size)
	if err != nil {
		return nil
	}
	return where
}

// listed returns the checksum of a file in the inventory. archive is the archive to which the file
// belongs, or empty if it belongs to none. of is the name of the file to compare.
func (b checksumDir) listed(f inventory.File, of, archive string, where extent.List) found {
	want, _ := hex.DecodeString(f.SHA256) // inventory.Parse has checked the value
	c := &Checksum{File: volume.JoinPath(b.dir, inventory.Name), Of: b.path(of), Algorithm: sha2, want: want, listed: true}
	if archive != "" {
		c.archive = b.path(archive)
	}
	return found{Checksum: c, where: where}
}

// reportListed adds a problem for each file whose checksum differs from the inventory.
func (r *run) reportListed() {
	for _, c := range r.report.Checksums {
		if !c.listed || c.State != Different {
			continue
		}
		p := layoutstore.Problem{Kind: layoutstore.Damaged, Path: c.Of, Reason: fmt.Sprintf("%s, and %s lists sha256:%x: copy it again", c.Reason, inventory.Name, c.want)}
		if number, ok := volume.IsChunk(filepath.Base(c.Of)); ok && c.archive != "" {
			p.Path, p.Chunks = c.archive, []string{"chunk " + number}
		}
		r.causes.add(p)
	}
}
