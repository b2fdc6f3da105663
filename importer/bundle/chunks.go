package bundle

import (
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Form describes how archives are written to files.
type Form struct {
	ChunkSize int64            // bytes; 0 means one file per archive
	NewSum    func() hash.Hash // hash of the .gostsum files; nil for none
}

// File is one file of an archive: the whole archive, or a chunk. Its checksum is empty until its
// content was read or written.
type File = inventory.File

// Files returns the files that an archive is written to: chunks of at most the form's size, or
// one file. An archive that fits into one chunk is still named as a chunk.
func (f Form) Files(a *Archive) (all []File) {
	if f.ChunkSize == 0 {
		return []File{{Name: a.Name, Size: a.Size}}
	}
	for off := int64(0); off < a.Size; off += f.ChunkSize {
		all = append(all, File{Name: chunkName(a.Name, len(all)), Size: min(f.ChunkSize, a.Size-off)})
	}
	return all
}

// Names returns the names of an archive's files, and of their checksum files if the form has
// any.
func (f Form) Names(a *Archive) (names []string) {
	for _, file := range f.Files(a) {
		names = append(names, file.Name)
		if f.NewSum != nil {
			names = append(names, SumName(file.Name))
		}
	}
	return names
}

// chunkSlice is the largest single write of d8 mirror pull. It closes a chunk after the write
// that fills it, so a chunk may exceed the limit by up to chunkSlice-1 bytes (deckhouse-cli,
// docs/mirror-bundle-layout.md §4.3).
const chunkSlice = 512 << 10

// chunksIn returns the chunks that a directory has of an archive of size bytes. It returns nil unless
// d8 or this package would write chunks of these sizes for a limit of chunk bytes.
func chunksIn(dir, archive string, size, chunk int64) (all []File) {
	for left := size; chunk > 0; {
		name := chunkName(archive, len(all))
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			break
		}
		n := info.Size()
		if all, left = append(all, File{Name: name, Size: n}), left-n; left == 0 && n <= chunk {
			return all
		}
		if left < 0 || n < chunk || n >= chunk+chunkSlice {
			break
		}
	}
	return nil
}

func chunkName(archive string, n int) string { return fmt.Sprintf("%s.%04d.chunk", archive, n) }
