// No base map: it would be fetched from the servers of others.
export default function configureBasemap() {
  return [];
}
