package bundle

import (
	"fmt"
	"hash"
	"os"
	"path/filepath"
)

// Form is how archives are written to files.
type Form struct {
	ChunkSize int64            // bytes; 0 leaves archives whole
	NewSum    func() hash.Hash // of the .gostsum beside each file; nil for none
}

// File is one file of an archive: all of it, or a chunk.
type File struct {
	Name string
	Size int64 // bytes
}

// Files are those that an archive is written to: in chunks of at most the form's size, or
// whole. An archive that fits into one chunk is a chunk still.
func (f Form) Files(a *Archive) []File { return filesOf(a.Name, a.Size, f.ChunkSize) }

func filesOf(archive string, size, chunk int64) []File {
	if chunk == 0 {
		return []File{{archive, size}}
	}
	var all []File
	for off := int64(0); off < size; off += chunk {
		all = append(all, File{chunkName(archive, len(all)), min(chunk, size-off)})
	}
	return all
}

// Names are the names of an archive's files, each with that of its checksum file if the
// form has some.
func (f Form) Names(a *Archive) (names []string) {
	for _, file := range f.Files(a) {
		names = append(names, file.Name)
		if f.NewSum != nil {
			names = append(names, sumName(file.Name))
		}
	}
	return names
}

// chunkSlice is the most that d8 mirror pull writes at once. It closes a chunk with the
// write that fills it, so one may have so much more than the limit, less a byte.
// (deckhouse-cli, docs/mirror-bundle-layout.md §4.3.)
const chunkSlice = 512 << 10

// chunksIn are the chunks of an archive of size bytes in a directory, if they are cut by
// the limit of chunk bytes, wherever exactly: d8 cuts elsewhere than we do. It is nil where
// they are not, or there are none.
func chunksIn(dir, archive string, size, chunk int64) (all []File) {
	for left := size; chunk > 0; {
		name := chunkName(archive, len(all))
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			break
		}
		n := info.Size()
		if all, left = append(all, File{name, n}), left-n; left == 0 && n <= chunk {
			return all
		}
		if left < 0 || n < chunk || n >= chunk+chunkSlice {
			break
		}
	}
	return nil
}

func chunkName(archive string, n int) string { return fmt.Sprintf("%s.%04d.chunk", archive, n) }
