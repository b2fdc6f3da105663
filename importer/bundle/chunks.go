package bundle

import (
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Form says whether archives are split into chunks and get checksum files.
type Form struct {
	ChunkSize int64 // maximum size of a chunk in bytes; 0 means one file per archive

	NewSum func() hash.Hash // creates the hash for .gostsum files; nil means that none are written
}

// File is one file of an archive: the complete archive, or a chunk. The checksum is empty until the
// file was read or written.
type File = inventory.File

// Files returns the files to which an archive is written. If ChunkSize is 0, that is a single file.
// Otherwise, it is one chunk or several.
func (f Form) Files(a *Archive) (all []File) {
	if f.ChunkSize == 0 {
		return []File{{Name: a.Name, Size: a.Size}}
	}
	for off := int64(0); off < a.Size; off += f.ChunkSize {
		all = append(all, File{Name: chunkName(a.Name, len(all)), Size: min(f.ChunkSize, a.Size-off)})
	}
	return all
}

// Check fails if an archive would have more chunks than readers accept. Call it before the other methods: the
// size of an archive comes from manifests, which can state any size.
func (f Form) Check(a *Archive) error {
	if f.ChunkSize > 0 && (a.Size-1)/f.ChunkSize >= volume.MaxChunks {
		return fmt.Errorf("%s: according to its manifests, it has %d bytes, which is more than %d chunks of %d bytes: choose larger chunks, or have the manifests in the source fixed", a.Name, a.Size, volume.MaxChunks, f.ChunkSize)
	}
	return nil
}

// Names returns the names of an archive's files and, if the form wants them, of their checksum files.
func (f Form) Names(a *Archive) (names []string) {
	for _, file := range f.Files(a) {
		names = append(names, file.Name)
		if f.NewSum != nil {
			names = append(names, SumName(file.Name))
		}
	}
	return names
}

// chunkSlice is the maximum number of bytes that d8 mirror pull writes at a time. d8 checks the
// size of a chunk only after a write. So a chunk may exceed the limit by up to chunkSlice-1 bytes
// (deckhouse-cli, docs/mirror-bundle-layout.md §4.3).
const chunkSlice = 512 << 10

// chunksIn finds the chunks of an archive in dir. size is the size of the archive, and chunk is the maximum
// size of a chunk. It returns nil if neither d8 nor this package would write chunks of these sizes.
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
